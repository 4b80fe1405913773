import { html, useMemo, useState } from "../html.js";
import { Close } from "./icons.js";
import { SHOWN_IMAGES, useJob } from "../client/job.js";
import { Plate } from "./image-grid.js";
import { jobsAt } from "../route.js";
import { Status } from "./job-status.js";
import { Timeline } from "./timeline.js";
import { facts, stepWords } from "../text.js";

/** One job, from its place in the queue to its downloads. `close()` takes it off the page, `adopt(request)` into the form. */
export function Panel({ id, cards, alone, pick, close, adopt }) {
  const job = useJob(id);
  const [at, setAt] = useState(null);
  const choose = useMemo(() => (position) => pick(id, position), [id]);
  if (job.view === null) return html`<article class="job" data-job=${id}><${Missing} job=${job} close=${close} /></article>`;
  const { view } = job;
  const card = cards.find(({ name }) => name === view.request.model);
  return html`<article class="job" data-job=${id} data-status=${view.status} aria-label=${`Job ${id.slice(0, 6)}`}>
    <header>
      <${Status} job=${job} />
      <button type="button" class="quiet icon" aria-label="Take this job off the page" title="Take off the page; it stays in the gallery" onClick=${close}><${Close} /></button>
    </header>
    <${Plate} job=${job} at=${at} card=${card} pick=${choose} height=${alone ? Math.max(innerHeight - 230, 280) : 420} />
    <${Timeline} length=${job.film.length} at=${at} go=${setAt} caption=${(stop) => stepWords(job.film.frame(stop))} />
    <footer>
      <${Facts} request=${view.request} card=${card} />
      <p class="note">${legend(view, job.film.length, alone)}</p>
      <${Downloads} urls=${view.urls} />
      <p class="more-links"><a class="quiet" href=${jobsAt([id])}>Link to this job</a>
        <button type="button" class="quiet" onClick=${() => adopt(view.request)}>Use these settings</button></p>
    </footer>
  </article>`;
}

/** Before anything is known of a job, or where there is none. */
export function Missing({ job, close }) {
  const { problem, connected } = job;
  return html`<div class="missing">
    <p class="state" role="status">${problem?.title ?? (connected ? "Looking for the job…" : "Connection lost. Trying again…")}</p>
    ${problem && html`<p class="eta">${problem.detail}</p>`}
    ${problem && close && html`<button type="button" class="quiet" onClick=${close}>Take it off the page</button>`}
  </div>`;
}

export const Facts = ({ request, card }) => html`<dl class="facts">
  ${facts(request, card).map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}
</dl>`;

function legend({ status, request }, frames, alone) {
  if (request.count > SHOWN_IMAGES && status !== "finished") return `Frames show the first ${SHOWN_IMAGES} images; the others appear when they are done.`;
  if (frames === 0 || !alone) return "";
  return "Each step shows x̂₀: what the network takes the finished picture to be. Choose a picture for a closer look.";
}

function Downloads({ urls }) {
  const links = [["PNG", urls.grid, "All images on one sheet"], ["GIF", urls.process, "The process, animated"], ["ZIP", urls.archive, "Every image, and what was asked"]];
  return html`<ul class="downloads" aria-label="Downloads">
    ${links.filter(([, url]) => url).map(([name, url, title]) => html`<li><a href=${url} title=${title} download>${name}</a></li>`)}
  </ul>`;
}
