/** The frames of one job, in the order in which they came. Images that move together share a frame. */
export class Film {
  #frames = [];

  get length() {
    return this.#frames.length;
  }

  add(frame) {
    this.#frames.push({ ...frame, images: frame.images.map((png) => `data:image/png;base64,${png}`) });
  }

  frame(stop) {
    return this.#frames[stop];
  }

  /** What each position showed once frame `stop` had come: a Map of position to image URL. */
  pictures(stop) {
    const shown = new Map();
    for (const { first, images } of this.#frames.slice(0, stop + 1)) {
      images.forEach((url, i) => shown.set(first + i, url));
    }
    return shown;
  }
}
