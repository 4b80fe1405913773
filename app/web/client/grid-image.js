const RETRY_MS = 2000;

/** A job's grid.png: its images in rows, one pixel apart, with ⌈√count⌉ columns. */
export class GridImage {
  #bitmap = null;
  #columns;
  #closed = false;

  /** `onLoaded()` is called when the image has been decoded. */
  constructor(url, count, onLoaded) {
    this.#columns = Math.ceil(Math.sqrt(count));
    this.#load(url, onLoaded);
  }

  /** `[bitmap, x, y, size]` of one image, or null until the grid is loaded. */
  crop(position) {
    if (this.#bitmap === null) return null;
    const pitch = (this.#bitmap.width + 1) / this.#columns;
    return [this.#bitmap, (position % this.#columns) * pitch, Math.floor(position / this.#columns) * pitch, pitch - 1];
  }

  close() {
    this.#closed = true;
    this.#bitmap?.close();
  }

  /** Retries until it succeeds; meanwhile the last frame is shown. */
  async #load(url, onLoaded) {
    if (this.#closed) return;
    try {
      const response = await fetch(url);
      if (!response.ok) throw new TypeError(`status ${response.status}`);
      const bitmap = await createImageBitmap(await response.blob());
      if (this.#closed) return bitmap.close();
      this.#bitmap = bitmap;
      onLoaded();
    } catch {
      setTimeout(() => this.#load(url, onLoaded), RETRY_MS);
    }
  }
}
