/** Images on one sheet, as square as can be, with a pixel between: a job's results, or a model's samples. */
export class Sheet {
  #bitmap = null;
  #columns;
  #closed = false;

  /** `onLoaded()` is called once the sheet is there. */
  constructor(url, count, onLoaded) {
    this.#columns = Math.ceil(Math.sqrt(count));
    this.#load(url, onLoaded);
  }

  /** `[source, x, y, size]` of one image, or null while the sheet is not there. */
  cut(position) {
    if (this.#bitmap === null) return null;
    const pitch = (this.#bitmap.width + 1) / this.#columns;
    return [this.#bitmap, (position % this.#columns) * pitch, Math.floor(position / this.#columns) * pitch, pitch - 1];
  }

  close() {
    this.#closed = true;
    this.#bitmap?.close();
  }

  /** What cannot be had now is asked for again; the last frame stands in for it meanwhile. */
  async #load(url, onLoaded) {
    if (this.#closed) return;
    try {
      const response = await fetch(url);
      if (!response.ok) throw new TypeError(`answered ${response.status}`);
      const bitmap = await createImageBitmap(await response.blob());
      if (this.#closed) return bitmap.close();
      this.#bitmap = bitmap;
      onLoaded();
    } catch {
      setTimeout(() => this.#load(url, onLoaded), 2000);
    }
  }
}
