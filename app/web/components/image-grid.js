import { useImageSize } from "../client/use-job.js";
import { html, useLayoutEffect, useMemo, useRef, useState } from "../html.js";
import { className } from "../text.js";
import { gridLayout } from "./grid-layout.js";

const MAX_IMAGES = 1024; // the ZIP holds all

/**
 * The images of a job at a frame, or the results (`frame` null). One canvas shows them, so that hundreds are drawn within a
 * millisecond. Each image has a button for focus and its accessible name; a click calls `openImage(position)`.
 */
export function ImageGrid({ job, frame, card, openImage, height }) {
  const box = useRef();
  const canvas = useRef();
  const width = useWidth(box);
  const size = useImageSize(job, card);
  const { request } = job.view;
  const count = Math.min(request.count, MAX_IMAGES);
  const layout = useMemo(() => (width && size ? gridLayout(count, size, width, height) : null), [width, height, count, size]);
  usePaint(job, canvas, layout, count, frame);
  // Memoised, so that Preact skips hundreds of buttons at each update.
  const buttons = useMemo(() => layout && html`<${ImageButtons} layout=${layout} request=${request} card=${card} count=${count} openImage=${openImage} />`, [layout, job.id, card, openImage]);
  return html`<div class="image-grid" ref=${box}>
    ${layout && html`<div class="grid-area" style=${{ width: `${totalWidth(layout) / layout.density}px` }}>
      <canvas ref=${canvas} width=${totalWidth(layout)} height=${totalHeight(layout)} data-columns=${layout.columns} data-side=${layout.side}
        data-gap=${layout.gap} aria-hidden="true" />
      ${buttons}
    </div>`}
    ${request.count > MAX_IMAGES && html`<p class="note">The first ${MAX_IMAGES} of ${request.count} images. The ZIP contains all of them.</p>`}
  </div>`;
}

const totalWidth = ({ columns, side, gap }) => columns * (side + gap) - gap;
const totalHeight = ({ rows, side, gap }) => rows * (side + gap) - gap;

/** An element's current width; 0 until it is measured. */
function useWidth(element) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(Math.floor(element.current.clientWidth));
    const observer = new ResizeObserver(measure);
    observer.observe(element.current);
    measure();
    return () => observer.disconnect();
  }, []);
  return width;
}

/** Draws after each change of the job, at most once per animation frame. */
function usePaint(job, canvas, layout, count, frame) {
  useLayoutEffect(() => { // useEffect would run after the next repaint, when the canvas may be gone
    if (!layout) return undefined;
    let pending = 0;
    const paint = () => {
      pending = 0;
      draw(canvas.current.getContext("2d"), job, layout, count, frame);
    };
    const unsubscribe = job.onPaint(() => (pending ||= requestAnimationFrame(paint)));
    paint();
    return () => {
      unsubscribe();
      cancelAnimationFrame(pending);
    };
  }, [job, layout, count, frame]);
}

/** While an image is being decoded, the previous one stays, so that nothing flickers. */
function draw(context, job, { columns, side, gap }, count, frame) {
  context.imageSmoothingEnabled = false;
  for (let position = 0; position < count; position += 1) {
    const left = (position % columns) * (side + gap);
    const top = Math.floor(position / columns) * (side + gap);
    const image = job.image(position, frame);
    if (image === undefined) context.clearRect(left, top, side, side);
    if (!image) continue;
    const [source, x, y, size] = image;
    context.drawImage(source, x, y, size, size, left, top, side, side);
  }
}

/** A single tab stop; arrow keys, Home and End move between images. */
function ImageButtons({ layout, request, card, count, openImage }) {
  const { columns, side, gap, density } = layout;
  const onKeyDown = (event) => {
    const offsets = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const buttons = [...event.currentTarget.children];
    const from = buttons.indexOf(event.target);
    const to = { Home: 0, End: buttons.length - 1 }[event.key] ?? from + (offsets[event.key] ?? NaN);
    if (!buttons[to]) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    buttons[to].tabIndex = 0;
    buttons[to].focus();
  };
  const style = { gridTemplateColumns: `repeat(${columns}, ${side / density}px)`, gridAutoRows: `${side / density}px`, gap: `${gap / density}px` };
  return html`<div class="image-buttons" role="group" aria-label="Images" style=${style} onKeyDown=${onKeyDown}
      onClick=${(event) => event.target.dataset.position && openImage(Number(event.target.dataset.position))}>
    ${Array.from({ length: count }, (_, position) => html`<button type="button" data-position=${position}
      tabindex=${position === 0 ? 0 : -1} aria-label=${imageName(position, request, card)} />`)}
  </div>`;
}

function imageName(position, request, card) {
  return request.labels === null ? `Image ${position}` : `Image ${position}, ${className(request.labels[position], request, card)}`;
}
