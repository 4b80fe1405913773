import { html } from "../html.js";

const MAX_GRID_IMAGES = 36;
const MAX_OVERFLOW = 1.1; // an image may be cropped by this factor to reach a larger integer scale

/** A job's grid if it is small, otherwise its first image. */
export function Thumbnail({ view: { urls, request, status } }) {
  const url = urls.grid !== null && request.count <= MAX_GRID_IMAGES ? urls.grid : urls.images[0];
  if (url === undefined) return html`<span class="thumbnail" data-status=${status} />`;
  return html`<span class="thumbnail"><img src=${url} alt="" loading="lazy" decoding="async" onLoad=${fit} /></span>`;
}

/** Enlarges by an integer factor; an image larger than the thumbnail is scaled down with smoothing. */
function fit({ target }) {
  const scale = Math.floor((MAX_OVERFLOW * target.parentElement.clientWidth) / Math.max(target.naturalWidth, target.naturalHeight));
  if (scale >= 1) target.width = target.naturalWidth * scale;
  target.dataset.scaling = scale >= 1 ? "integer" : "smooth";
}
