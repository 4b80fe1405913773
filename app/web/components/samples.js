import { figureUrl } from "../client/api.js";
import { html, useEffect, useState } from "../html.js";

const FIGURE = "samples.png";
const sheets = new Map();

/** A model's sheet of samples, the classes in turn: `{ url, columns, tiles, image_size }`, or null until it is known. */
export function useSamples(card) {
  const [sheet, setSheet] = useState(null);
  useEffect(() => {
    let wanted = true;
    setSheet(null);
    load(card).then((loaded) => wanted && setSheet(loaded));
    return () => (wanted = false);
  }, [card]);
  return sheet;
}

/** A convenience: where it cannot be had, the page does without. */
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
  return { url, size, columns, tiles: columns * rows, width: image.naturalWidth, height: image.naturalHeight };
}

/** One sample, about `side` pixels wide; `position` counts along the sheet's rows. An empty tile where there is none. */
export function Sample({ sheet, position, side }) {
  if (sheet === null || position >= sheet.tiles) return html`<span class="sample" />`;
  const scale = Math.max(1, Math.floor(side / sheet.size));
  const place = [position % sheet.columns, Math.floor(position / sheet.columns)].map((at) => `${-at * (sheet.size + 1) * scale}px`);
  const style = {
    width: `${sheet.size * scale}px`,
    height: `${sheet.size * scale}px`,
    backgroundImage: `url("${sheet.url}")`,
    backgroundSize: `${sheet.width * scale}px auto`,
    backgroundPosition: place.join(" "),
  };
  return html`<span class="sample" style=${style} />`;
}

/** The whole sheet, as large as whole multiples of its pixels come to `side` at the most. */
export function SampleSheet({ sheet, side, alt }) {
  if (sheet === null) return null;
  const scale = Math.max(1, Math.floor(side / sheet.width));
  return html`<img class="samples" src=${sheet.url} width=${sheet.width * scale} height=${sheet.height * scale} alt=${alt} />`;
}
