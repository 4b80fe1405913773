import { html, useLayoutEffect, useMemo, useRef, useState } from "../html.js";
import { useSize } from "../client/job.js";
import { tiling } from "./grid-layout.js";
import { className } from "../text.js";

const MOST = 1024; // images on show; more are for the archive

/**
 * The images of a job, at a stop of its film or at its end (null): one canvas, so that hundreds are drawn in a
 * millisecond, over as many buttons, so that each can be reached and named. `pick(position)` is called with one.
 */
export function Plate({ job, at, card, pick, height }) {
  const box = useRef();
  const canvas = useRef();
  const width = useWidth(box);
  const size = useSize(job, card);
  const { request } = job.view;
  const count = Math.min(request.count, MOST);
  const lay = useMemo(() => (width && size ? tiling(count, size, width, height) : null), [width, height, count, size]);
  usePaint(job, canvas, lay, count, at);
  // The same element is handed over as long as it would say the same, so that it is not compared again and again.
  const tiles = useMemo(() => lay && html`<${Tiles} lay=${lay} request=${request} card=${card} count=${count} pick=${pick} />`, [lay, job.id, card, pick]);
  return html`<div class="plate" ref=${box}>
    ${lay && html`<div class="sheet" style=${{ width: `${across(lay) / lay.density}px` }}>
      <canvas ref=${canvas} width=${across(lay)} height=${down(lay)} data-columns=${lay.columns} data-side=${lay.side}
        data-gap=${lay.gap} aria-hidden="true" />
      ${tiles}
    </div>`}
    ${request.count > MOST && html`<p class="note">The first ${MOST} of ${request.count}; the ZIP holds them all.</p>`}
  </div>`;
}

const across = ({ columns, side, gap }) => columns * (side + gap) - gap;
const down = ({ rows, side, gap }) => rows * (side + gap) - gap;

/** The width of an element, as it changes; 0 before it is known. */
function useWidth(box) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(Math.floor(box.current.clientWidth));
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    measure();
    return () => observer.disconnect();
  }, []);
  return width;
}

/** Draws when there is something new to draw, once a frame of the screen. */
function usePaint(job, canvas, lay, count, at) {
  useLayoutEffect(() => { // not after the next picture of the screen, when the canvas may be gone
    if (!lay) return undefined;
    let waiting = 0;
    const paint = () => {
      waiting = 0;
      draw(canvas.current.getContext("2d"), job, lay, count, at);
    };
    const ask = () => (waiting ||= requestAnimationFrame(paint));
    const leave = job.paint(ask);
    paint();
    return () => {
      leave();
      cancelAnimationFrame(waiting);
    };
  }, [job, lay, count, at]);
}

/** A picture that is still being decoded leaves the one before it on show, so that nothing flickers. */
function draw(context, job, { columns, side, gap }, count, at) {
  context.imageSmoothingEnabled = false;
  for (let position = 0; position < count; position += 1) {
    const left = (position % columns) * (side + gap);
    const top = Math.floor(position / columns) * (side + gap);
    const picture = job.picture(position, at);
    if (picture === undefined) context.clearRect(left, top, side, side);
    if (!picture) continue;
    const [source, x, y, size] = picture;
    context.drawImage(source, x, y, size, size, left, top, side, side);
  }
}

/** One stop of the Tab key; the arrows go from image to image. */
function Tiles({ lay, request, card, count, pick }) {
  const { columns, side, gap, density } = lay;
  const move = (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const tiles = [...event.currentTarget.children];
    const from = tiles.indexOf(event.target);
    const to = { Home: 0, End: tiles.length - 1 }[event.key] ?? from + (steps[event.key] ?? NaN);
    if (!tiles[to]) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    tiles[to].tabIndex = 0;
    tiles[to].focus();
  };
  const style = { gridTemplateColumns: `repeat(${columns}, ${side / density}px)`, gridAutoRows: `${side / density}px`, gap: `${gap / density}px` };
  return html`<div class="tiles" role="group" aria-label="Images" style=${style} onKeyDown=${move}
      onClick=${(event) => event.target.dataset.position && pick(Number(event.target.dataset.position))}>
    ${Array.from({ length: count }, (_, position) => html`<button type="button" data-position=${position}
      tabindex=${position === 0 ? 0 : -1} aria-label=${label(position, request, card)} />`)}
  </div>`;
}

function label(position, request, card) {
  return request.labels === null ? `Image ${position}` : `Image ${position}, ${className(request.labels[position], request, card)}`;
}
