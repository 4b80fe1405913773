import { Film } from "./film.js";

export const SHOWN_IMAGES = 64; // a job's frames hold no more; larger sheets are for downloads

/** The grid of images, with a scrubber through the frames that brought them. */
export class Plate {
  #root;
  #grid;
  #scrubber;
  #caption;
  #film = new Film();
  #finals = null; // URLs by position, once the job has finished

  constructor(root) {
    this.#root = root;
    this.#grid = root.querySelector("#grid");
    this.#scrubber = root.querySelector("#scrubber");
    this.#caption = root.querySelector("#step");
    this.#scrubber.addEventListener("input", () => this.#draw());
  }

  /** Empty tiles for `count` images of `pixels` a side, or the first of them. */
  prepare(count, pixels) {
    this.#finals = null;
    const tiles = Array.from({ length: Math.min(count, SHOWN_IMAGES) }, () => document.createElement("li"));
    this.#grid.replaceChildren(...tiles);
    this.#root.style.setProperty("--columns", Math.ceil(Math.sqrt(tiles.length)));
    this.#root.style.setProperty("--pixels", pixels);
    this.rewind();
  }

  /** Forgets the frames, for they are about to come again; what is on show stays until they do. */
  rewind() {
    this.#film = new Film();
    this.#scrubber.max = this.#scrubber.value = 0;
    this.#describe(0);
  }

  add(frame) {
    const following = this.#atEnd;
    this.#film.add(frame);
    this.#scrubber.max = this.#film.length - 1;
    if (following) this.#scrubber.value = this.#scrubber.max;
    this.#draw();
  }

  /** The finished images take the last frame's place. */
  finish(urls) {
    this.#finals = urls;
    this.#draw();
  }

  get #atEnd() {
    return this.#scrubber.value === this.#scrubber.max;
  }

  #draw() {
    const final = this.#finals !== null && this.#atEnd;
    const pictures = final ? new Map(this.#finals.entries()) : this.#film.pictures(Number(this.#scrubber.value));
    [...this.#grid.children].forEach((tile, position) => show(tile, position, pictures.get(position), final));
    this.#describe(final ? 0 : pictures.size);
  }

  /** `moving` is how many images are on show that may stand at different steps. */
  #describe(moving) {
    const frame = this.#film.frame(Number(this.#scrubber.value));
    const caption = frame === undefined ? "" : words(frame, moving);
    this.#scrubber.hidden = this.#film.length < 2;
    this.#scrubber.setAttribute("aria-valuetext", caption);
    this.#caption.textContent = caption;
  }
}

/** A job too large to enter whole comes in waves: then a frame speaks for some of the images on show. */
function words({ step, steps, timestep, first, images }, moving) {
  const which = images.length < moving ? ` · images ${first}–${first + images.length - 1}` : "";
  return `step ${step} of ${steps} · t = ${timestep}${which}`;
}

/** Finished images are links to themselves; a tile that has none to show is left empty. */
function show(tile, position, url, final) {
  if (url === undefined) return tile.replaceChildren();
  const image = tile.querySelector("img") ?? hang(tile, position);
  // A browser keeps the old picture on show until the new one is decoded, so this does not flicker.
  if (image.getAttribute("src") !== url) image.src = url;
  if (final) image.parentElement.href = url;
  else image.parentElement.removeAttribute("href");
}

function hang(tile, position) {
  const image = document.createElement("img");
  image.alt = `Image ${position}`;
  image.dataset.position = position;
  const link = document.createElement("a");
  link.append(image);
  tile.replaceChildren(link);
  return image;
}
