import { html, useLayoutEffect, useRef } from "../html.js";

/** One image of a job at a stop of its film, as large as whole multiples of its pixels come to `side` at the most. */
export function Cell({ job, position, at, size, side, name }) {
  const canvas = useRef();
  const scale = Math.max(1, Math.floor((side * devicePixelRatio) / size));
  useLayoutEffect(() => { // not after the next picture of the screen, when the canvas may be gone
    const paint = () => draw(canvas.current, job.picture(position, at));
    paint();
    return job.paint(paint);
  }, [job, position, at, size, scale]);
  const shown = `${(size * scale) / devicePixelRatio}px`;
  const said = name ? { role: "img", "aria-label": name } : { "aria-hidden": "true" };
  return html`<canvas ref=${canvas} class="cell" width=${size * scale} height=${size * scale} style=${{ width: shown, height: shown }} ...${said} />`;
}

function draw(canvas, picture) {
  if (!picture) return;
  const context = canvas.getContext("2d");
  const [source, x, y, size] = picture;
  context.imageSmoothingEnabled = false;
  context.drawImage(source, x, y, size, size, 0, 0, canvas.width, canvas.height);
}
