import { cancel, hasEnded, toProblem } from "../client/api.js";
import { FRAME_IMAGES } from "../client/job.js";
import { html, useState } from "../html.js";
import { etaText, statusText } from "../text.js";

/** A job's status, queue position, time and progress, and the button that cancels it. */
export function JobStatus({ job }) {
  const [cancelError, setCancelError] = useState("");
  const { view } = job;
  const onCancel = () => cancel(view).then((canceled) => job.setView(canceled), (error) => setCancelError(toProblem(error).detail));
  return html`<div class="status" data-status=${view.status}>
    <p class="state" role="status">${statusText(view)}</p>
    <p class="eta">${cancelError || etaText(view)}</p>
    ${!job.connected && !hasEnded(view) && html`<p class="connection-lost" role="status">Connection lost. Trying again…</p>`}
    ${!hasEnded(view) && html`<button type="button" class="text-button cancel" onClick=${onCancel}>Cancel</button>`}
    <progress max="1" value=${progress(job)} aria-label="Denoising steps done, over all images" />
  </div>`;
}

/** Frames arrive earlier than the polled view, but count only if a frame covers all images of the job. */
function progress({ view, frames }) {
  const polled = view.progress.steps_done / view.progress.steps;
  const last = frames.get(frames.length - 1);
  const coversAll = last !== undefined && last.count === view.request.count && last.count <= FRAME_IMAGES;
  return coversAll ? Math.max(polled, last.step / last.steps) : polled;
}
