import { html } from "../html.js";

/** A small sheet as it is, or the first image of a large one. */
export function Thumbnail({ view: { urls, request, status } }) {
  const url = urls.grid !== null && request.count <= 36 ? urls.grid : urls.images[0];
  if (url === undefined) return html`<span class="thumbnail" data-status=${status} />`;
  return html`<span class="thumbnail"><img src=${url} alt="" loading="lazy" decoding="async" onLoad=${fit} /></span>`;
}

const CROP = 1.1; // a little may be cut off, so that more places are filled

/** To a whole multiple of its pixels; a picture larger than its place is shown smaller, and smooth. */
function fit({ target }) {
  const scale = Math.floor((CROP * target.parentElement.clientWidth) / Math.max(target.naturalWidth, target.naturalHeight));
  if (scale >= 1) target.width = target.naturalWidth * scale;
  target.dataset.fitted = scale >= 1 ? "whole" : "smaller";
}
