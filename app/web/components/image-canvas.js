import { html, useLayoutEffect, useRef } from "../html.js";

/** One image of a job at a frame, enlarged by the largest integer factor at which it fits into `maxSide`. */
export function ImageCanvas({ job, position, frame, size, maxSide, name }) {
  const canvas = useRef();
  const scale = Math.max(1, Math.floor((maxSide * devicePixelRatio) / size));
  useLayoutEffect(() => { // useEffect would run after the next repaint, when the canvas may be gone
    const paint = () => draw(canvas.current, job.image(position, frame));
    paint();
    return job.onPaint(paint);
  }, [job, position, frame, size, scale]);
  const side = `${(size * scale) / devicePixelRatio}px`;
  const accessibility = name ? { role: "img", "aria-label": name } : { "aria-hidden": "true" };
  return html`<canvas ref=${canvas} class="image-canvas" width=${size * scale} height=${size * scale} style=${{ width: side, height: side }} ...${accessibility} />`;
}

function draw(canvas, image) {
  if (!image) return;
  const context = canvas.getContext("2d");
  const [source, x, y, size] = image;
  context.imageSmoothingEnabled = false;
  context.drawImage(source, x, y, size, size, 0, 0, canvas.width, canvas.height);
}
