import { FRAME_IMAGES } from "../client/job.js";
import { useJob } from "../client/use-job.js";
import { html, useMemo, useState } from "../html.js";
import { jobsHref } from "../route.js";
import { buildFacts, requestFacts, stepText } from "../text.js";
import { Facts } from "./facts.js";
import { Close } from "./icons.js";
import { ImageGrid } from "./image-grid.js";
import { JobStatus } from "./job-status.js";
import { Timeline } from "./timeline.js";

/** One job: status, images, timeline, facts and downloads. `close()` removes it from the page, `adopt(request)` fills the form. */
export function JobPanel({ id, cards, single, openImage, close, adopt }) {
  const job = useJob(id);
  const [frame, setFrame] = useState(null);
  const openOwnImage = useMemo(() => (position) => openImage(id, position), [id]);
  if (job.view === null) return html`<article class="job" data-job=${id}><${JobUnavailable} job=${job} close=${close} /></article>`;
  const { view } = job;
  const card = cards.find(({ name }) => name === view.request.model);
  return html`<article class="job" data-job=${id} data-status=${view.status} aria-label=${`Job ${id.slice(0, 6)}`}>
    <header>
      <${JobStatus} job=${job} />
      <button type="button" class="text-button icon-button" aria-label="Hide this job" title="Hide; the job stays in the gallery" onClick=${close}><${Close} /></button>
    </header>
    <${ImageGrid} job=${job} frame=${frame} card=${card} openImage=${openOwnImage} height=${single ? Math.max(innerHeight - 230, 280) : 420} />
    <${Timeline} length=${job.frames.length} frame=${frame} setFrame=${setFrame} caption=${(index) => stepText(job.frames.get(index))} />
    <footer>
      <${Facts} facts=${[...requestFacts(view.request, card), ...buildFacts(view)]} />
      <p class="note">${legend(view, job.frames.length, single)}</p>
      <${Downloads} urls=${view.urls} />
      <p class="job-links"><a class="text-button" href=${jobsHref([id])}>Link to this job</a>
        <button type="button" class="text-button" onClick=${() => adopt(view.request)}>Use these settings</button></p>
    </footer>
  </article>`;
}

/** Shown while a job is loading, or the reason why it cannot be loaded. */
export function JobUnavailable({ job, close }) {
  const { problem, connected } = job;
  return html`<div class="job-unavailable">
    <p class="state" role="status">${problem?.title ?? (connected ? "Loading the job…" : "Connection lost. Trying again…")}</p>
    ${problem && html`<p class="eta">${problem.detail}</p>`}
    ${problem && close && html`<button type="button" class="text-button" onClick=${close}>Hide this job</button>`}
  </div>`;
}

function legend({ status, request }, frames, single) {
  if (request.count > FRAME_IMAGES && status !== "finished") return `Steps show the first ${FRAME_IMAGES} images. The others appear when they are finished.`;
  if (frames === 0 || !single) return "";
  return "Each step shows x̂₀, the network's current estimate of the finished image. Select an image to see it larger.";
}

function Downloads({ urls }) {
  const links = [["PNG", urls.grid, "All images in a grid"], ["GIF", urls.process, "Animation of the denoising steps"], ["ZIP", urls.archive, "All images and the request"]];
  return html`<ul class="downloads" aria-label="Downloads">
    ${links.filter(([, url]) => url).map(([name, url, title]) => html`<li><a href=${url} title=${title} download>${name}</a></li>`)}
  </ul>`;
}
