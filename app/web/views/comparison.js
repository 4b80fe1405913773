import { useJob } from "../client/use-job.js";
import { AXES, axisValue, axisValueText } from "../components/comparison-axis.js";
import { Facts } from "../components/facts.js";
import { ImageGrid } from "../components/image-grid.js";
import { JobUnavailable } from "../components/job-panel.js";
import { JobStatus } from "../components/job-status.js";
import { Timeline } from "../components/timeline.js";
import { html, useEffect, useMemo, useState } from "../html.js";
import { requestFacts, stepText } from "../text.js";

/** Jobs side by side with one timeline: each shows the frame at the same share of its own frames. */
export function Comparison({ ids, cards, openImage, prefill }) {
  const jobs = ids.map(useJob);
  const [frame, setFrame] = useState(null);
  const loaded = jobs.filter(({ view }) => view !== null);
  const requests = loaded.map(({ view }) => view.request);
  const length = Math.max(0, ...loaded.map(({ frames }) => frames.length));
  const card = cards.find(({ name }) => name === requests[0]?.model);
  const axis = comparedAxis(requests);
  useEffect(() => {
    if (axis && prefill && loaded.length === ids.length) prefill(axis, requests.map((request) => axisValue(axis, request)));
  }, [loaded.length, Boolean(prefill)]);
  const frameOf = ({ frames }) => (frame === null ? null : Math.round((frame / Math.max(1, length - 1)) * (frames.length - 1)));
  return html`<section class="comparison" aria-label="Comparison">
    ${loaded.length > 0 && html`<p class="lead">Same noise${axis ? `, different ${AXES[axis].toLowerCase()}` : ""}.</p>`}
    <div class="columns" data-many=${ids.length > 4}>
      ${jobs.map((job) => html`<${Column} key=${job.id} job=${job} frame=${frameOf(job)} axis=${axis} card=${card} openImage=${openImage} />`)}
    </div>
    <${Timeline} length=${length} frame=${frame} setFrame=${setFrame} caption=${(index) => `${Math.round((100 * (index + 1)) / length)} % of the steps`} />
    ${loaded.length > 0 && html`<${Facts} facts=${commonFacts(requests, card)} label="Common settings" />`}
  </section>`;
}

function Column({ job, frame, axis, card, openImage }) {
  const openOwnImage = useMemo(() => (position) => openImage(job.id, position), [job.id]);
  if (job.view === null) return html`<article class="job" data-job=${job.id}><${JobUnavailable} job=${job} /></article>`;
  const { view, frames } = job;
  const current = frames.get(frame ?? frames.length - 1);
  return html`<article class="job" data-job=${job.id} data-status=${view.status}>
    <h2>${axis ? axisValueText(axis, view.request, card) : job.id.slice(0, 6)}</h2>
    <${JobStatus} job=${job} />
    <${ImageGrid} job=${job} frame=${frame} card=${card} openImage=${openOwnImage} height=${Math.max(innerHeight - 360, 240)} />
    <p class="caption">${current ? stepText(current) : ""}</p>
  </article>`;
}

/** The first axis in which the requests differ, or undefined. */
function comparedAxis(requests) {
  const differs = (field) => new Set(requests.map((request) => JSON.stringify(request[field]))).size > 1;
  return Object.keys(AXES).find((axis) => differs(axis === "label" ? "labels" : axis));
}

function commonFacts(requests, card) {
  const others = requests.slice(1).map((request) => requestFacts(request, card).map(String));
  return requestFacts(requests[0], card).filter((fact) => others.every((facts) => facts.includes(String(fact))));
}
