/** The frames of one job, in the order in which they came. Images that move together share a frame. */
export class Film {
  #frames = [];
  #onDecoded;

  /** `onDecoded()` is called when a picture that was asked for can be had. */
  constructor(onDecoded) {
    this.#onDecoded = onDecoded;
  }

  get length() {
    return this.#frames.length;
  }

  add(frame) {
    this.#frames.push(new Frame(frame, this.#onDecoded));
  }

  frame(stop) {
    return this.#frames[stop];
  }

  /** What an image showed once frame `stop` had come: undefined where nothing had, null while it is decoded. */
  picture(stop, position) {
    for (let at = Math.min(stop, this.length - 1); at >= 0; at -= 1) {
      if (this.#frames[at].holds(position)) return this.#frames[at].picture(position);
    }
    return undefined;
  }

  close() {
    for (const frame of this.#frames) frame.close();
  }

  /** At which stops an image moved. */
  stops(position) {
    return [...this.#frames.keys()].filter((stop) => this.#frames[stop].holds(position));
  }
}

/** One frame event. Its pictures are decoded when they are first asked for, off the main thread. */
class Frame {
  #images;
  #pictures = new Map();
  #closed = false;
  #onDecoded;

  constructor({ step, steps, timestep, first, images }, onDecoded) {
    Object.assign(this, { step, steps, timestep, first, count: images.length });
    this.#images = images;
    this.#onDecoded = onDecoded;
  }

  holds(position) {
    return this.first <= position && position < this.first + this.count;
  }

  picture(position) {
    if (!this.#pictures.has(position)) this.#decode(position);
    return this.#pictures.get(position);
  }

  close() {
    this.#closed = true;
    for (const picture of this.#pictures.values()) picture?.close();
  }

  async #decode(position) {
    this.#pictures.set(position, null);
    const bytes = Uint8Array.from(atob(this.#images[position - this.first]), (letter) => letter.charCodeAt(0));
    const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    if (this.#closed) return picture.close();
    this.#pictures.set(position, picture);
    this.#onDecoded();
  }
}
