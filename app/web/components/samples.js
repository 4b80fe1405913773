import { figureUrl } from "../client/api.js";
import { html, useEffect, useState } from "../html.js";

const FIGURE = "samples.png";
const sheets = new Map(); // Promise of a sheet by URL

/** A model's sheet of samples, one class after another, with its dimensions; null until loaded. */
export function useSampleSheet(card) {
  const [sheet, setSheet] = useState(null);
  useEffect(() => {
    let mounted = true;
    setSheet(null);
    load(card).then((loaded) => mounted && setSheet(loaded));
    return () => (mounted = false);
  }, [card]);
  return sheet;
}

/** Optional: resolves to null if the sheet cannot be loaded. */
function load(card) {
  if (!card || !(FIGURE in card.figures)) return Promise.resolve(null);
  const url = figureUrl(card, FIGURE);
  if (!sheets.has(url)) sheets.set(url, measure(url, card.image_size).catch(() => null));
  return sheets.get(url);
}

async function measure(url, size) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const [columns, rows] = [image.naturalWidth, image.naturalHeight].map((side) => Math.round((side + 1) / (size + 1)));
  return { url, size, columns, count: columns * rows, width: image.naturalWidth, height: image.naturalHeight };
}

/** The sample at `position` (row by row), about `side` pixels wide; an empty tile if there is none. */
export function Sample({ sheet, position, side }) {
  if (sheet === null || position >= sheet.count) return html`<span class="sample" />`;
  const scale = Math.max(1, Math.floor(side / sheet.size));
  const offsets = [position % sheet.columns, Math.floor(position / sheet.columns)].map((k) => `${-k * (sheet.size + 1) * scale}px`);
  const style = {
    width: `${sheet.size * scale}px`,
    height: `${sheet.size * scale}px`,
    backgroundImage: `url("${sheet.url}")`,
    backgroundSize: `${sheet.width * scale}px auto`,
    backgroundPosition: offsets.join(" "),
  };
  return html`<span class="sample" style=${style} />`;
}

/** The whole sheet, enlarged by the largest integer factor at which it fits into `maxSide`. */
export function SampleSheet({ sheet, maxSide, alt }) {
  if (sheet === null) return null;
  const scale = Math.max(1, Math.floor(maxSide / sheet.width));
  return html`<img class="sample-sheet" src=${sheet.url} width=${sheet.width * scale} height=${sheet.height * scale} alt=${alt} />`;
}
