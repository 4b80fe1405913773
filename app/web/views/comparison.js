import { html, useEffect, useMemo, useState } from "../html.js";
import { useJob } from "../client/job.js";
import { Missing } from "../components/job-panel.js";
import { Plate } from "../components/image-grid.js";
import { Status } from "../components/job-status.js";
import { Timeline } from "../components/timeline.js";
import { AXES, valueOf, valueWords } from "../components/comparison-axis.js";
import { facts, stepWords } from "../text.js";

/** Jobs side by side, moved in step: each shows what it had come to after the same share of its frames. */
export function Compare({ ids, cards, pick, begin }) {
  const jobs = ids.map(useJob);
  const [at, setAt] = useState(null);
  const known = jobs.filter(({ view }) => view !== null);
  const length = Math.max(0, ...known.map(({ film }) => film.length));
  const card = cards.find(({ name }) => name === known[0]?.view.request.model);
  const axis = differing(known.map(({ view }) => view.request));
  useEffect(() => {
    if (axis && begin && known.length === ids.length) begin(axis, known.map(({ view }) => valueOf(axis, view.request)));
  }, [known.length, Boolean(begin)]);
  const stopOf = ({ film }) => (at === null ? null : Math.round((at / Math.max(1, length - 1)) * (film.length - 1)));
  return html`<section class="compare" aria-label="Comparison">
    ${known.length > 0 && html`<p class="lede">The same noise${axis ? `, other ${AXES[axis].toLowerCase()}` : ""}.</p>`}
    <div class="columns" data-many=${ids.length > 4}>
      ${jobs.map((job) => html`<${Column} key=${job.id} job=${job} at=${stopOf(job)} axis=${axis} card=${card} pick=${pick} />`)}
    </div>
    <${Timeline} length=${length} at=${at} go=${setAt} caption=${(stop) => `${Math.round((100 * (stop + 1)) / length)} % of the way`} />
    ${known.length > 0 && html`<${Shared} requests=${known.map(({ view }) => view.request)} card=${card} />`}
  </section>`;
}

function Column({ job, at, axis, card, pick }) {
  const choose = useMemo(() => (position) => pick(job.id, position), [job.id]);
  if (job.view === null) return html`<article class="job" data-job=${job.id}><${Missing} job=${job} /></article>`;
  const { view, film } = job;
  const frame = film.frame(at ?? film.length - 1);
  return html`<article class="job" data-job=${job.id} data-status=${view.status}>
    <h2>${axis ? valueWords(axis, view.request, card) : job.id.slice(0, 6)}</h2>
    <${Status} job=${job} />
    <${Plate} job=${job} at=${at} card=${card} pick=${choose} height=${Math.max(innerHeight - 360, 240)} />
    <p class="caption">${frame ? stepWords(frame) : ""}</p>
  </article>`;
}

/** The one thing in which requests differ, if it is one that a comparison can be asked for. */
function differing(requests) {
  const distinct = (of) => new Set(requests.map((request) => JSON.stringify(of(request)))).size > 1;
  return Object.keys(AXES).find((axis) => distinct((request) => request[axis === "label" ? "labels" : axis]));
}

/** What all of them have in common. */
function Shared({ requests, card }) {
  const all = requests.map((request) => facts(request, card).map(String));
  const common = all[0].filter((fact) => all.every((other) => other.includes(fact)));
  const first = facts(requests[0], card).filter((fact) => common.includes(String(fact)));
  return html`<dl class="facts" aria-label="In common">${first.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>`;
}
