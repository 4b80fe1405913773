import { asProblem, cancel, ended } from "../client/api.js";
import { html, useState } from "../html.js";
import { SHOWN_IMAGES } from "../client/job.js";
import { etaWords, statusWords } from "../text.js";

/** How a job stands: its place, time, progress, and the button that ends it. */
export function Status({ job }) {
  const [refusal, setRefusal] = useState("");
  const { view } = job;
  // A job that has ended meanwhile says so in its stream; one that could not be reached can be asked again.
  const end = () => cancel(view).then((answer) => job.see(answer), (error) => setRefusal(asProblem(error).detail));
  return html`<div class="status" data-status=${view.status}>
    <p class="state" role="status">${statusWords(view)}</p>
    <p class="eta">${refusal || etaWords(view)}</p>
    ${!job.connected && !ended(view) && html`<p class="lost" role="status">Connection lost. Trying again…</p>`}
    ${!ended(view) && html`<button type="button" class="quiet cancel" onClick=${end}>Cancel</button>`}
    <progress max="1" value=${share(job)} aria-label="Steps taken, of all images" />
  </div>`;
}

/** Frames come sooner than the answers to asking, but speak of the first images only. */
function share({ view, film }) {
  const told = view.progress.steps_done / view.progress.steps;
  const last = film.frame(film.length - 1);
  const whole = last !== undefined && last.count === view.request.count && last.count <= SHOWN_IMAGES;
  return whole ? Math.max(told, last.step / last.steps) : told;
}
