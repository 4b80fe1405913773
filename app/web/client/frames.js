/** The frames of one job, in order of arrival. A frame holds x̂0 of consecutive images at one denoising step. */
export class Frames {
  #frames = [];
  #onDecoded;

  /** `onDecoded()` is called when a requested bitmap has been decoded. */
  constructor(onDecoded) {
    this.#onDecoded = onDecoded;
  }

  get length() {
    return this.#frames.length;
  }

  add(event) {
    this.#frames.push(new Frame(event, this.#onDecoded));
  }

  get(index) {
    return this.#frames[index];
  }

  /** The last bitmap of an image up to frame `index`: undefined if there is none, null while it is being decoded. */
  bitmap(index, position) {
    for (let k = Math.min(index, this.length - 1); k >= 0; k -= 1) {
      if (this.#frames[k].includes(position)) return this.#frames[k].bitmap(position);
    }
    return undefined;
  }

  /** Indices of the frames that include an image. */
  indicesOf(position) {
    return [...this.#frames.keys()].filter((index) => this.#frames[index].includes(position));
  }

  close() {
    for (const frame of this.#frames) frame.close();
  }
}

/** One frame event. A bitmap is decoded on first use, off the main thread. */
class Frame {
  #images;
  #bitmaps = new Map();
  #closed = false;
  #onDecoded;

  constructor({ step, steps, timestep, first, images }, onDecoded) {
    Object.assign(this, { step, steps, timestep, first, count: images.length });
    this.#images = images;
    this.#onDecoded = onDecoded;
  }

  includes(position) {
    return this.first <= position && position < this.first + this.count;
  }

  bitmap(position) {
    if (!this.#bitmaps.has(position)) this.#decode(position);
    return this.#bitmaps.get(position);
  }

  close() {
    this.#closed = true;
    for (const bitmap of this.#bitmaps.values()) bitmap?.close();
  }

  async #decode(position) {
    this.#bitmaps.set(position, null);
    const bytes = Uint8Array.from(atob(this.#images[position - this.first]), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    if (this.#closed) return bitmap.close();
    this.#bitmaps.set(position, bitmap);
    this.#onDecoded();
  }
}
