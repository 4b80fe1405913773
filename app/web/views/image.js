import { asProblem } from "../client/api.js";
import { Cell } from "../components/image-canvas.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { After, Before, Close } from "../components/icons.js";
import { useJob, useSize } from "../client/job.js";
import { Missing } from "../components/job-panel.js";
import { Refusal } from "../components/error-message.js";
import { settingsOfImage } from "../client/settings.js";
import { Timeline } from "../components/timeline.js";
import { className, stepWords } from "../text.js";

/** One picture alone, over the page: how it came about, what reproduces it, and what else its noise could have become. */
export function Picture({ job: id, position, cards, go, close, again, compare }) {
  const dialog = useRef();
  const job = useJob(id);
  useLayoutEffect(() => dialog.current.showModal(), []);
  const leave = (event) => event.target === dialog.current && dialog.current.close(); // a click beside it
  return html`<dialog ref=${dialog} class="picture" aria-label=${`Image ${position}`} onClose=${close} onClick=${leave}
    onKeyDown=${turning(go, position, job.view?.request.count ?? 0)}>
    <div class="inside">
      <button type="button" class="quiet icon shut" aria-label="Close" onClick=${() => dialog.current.close()}><${Close} /></button>
      ${job.view === null || position >= job.view.request.count
        ? html`<${Missing} job=${job} />`
        : html`<${Closer} job=${job} position=${position} cards=${cards} go=${go} again=${again} compare=${compare} />`}
    </div>
  </dialog>`;
}

function Closer({ job, position, cards, go, again, compare }) {
  const [at, setAt] = useState(null); // counts the stops at which this image moved; null: the end
  useEffect(() => setAt(null), [position]);
  const { request } = job.view;
  const card = cards.find(({ name }) => name === request.model);
  const size = useSize(job, card);
  const stops = job.film.stops(position);
  const caption = (stop) => stepWords(job.film.frame(stops[stop]));
  return html`<div class="closer">
    <div class="large">
      ${size > 0 && html`<${Cell} job=${job} position=${position} at=${at === null ? null : stops[at]} size=${size} side=${Math.min(innerWidth - 64, innerHeight - 330, 480)} name=${`Image ${position}`} />`}
      <${Timeline} length=${stops.length} at=${at} go=${setAt} caption=${caption} />
    </div>
    <div class="beside">
      <nav aria-label="Other images">
        <button type="button" class="quiet icon" aria-label="Image before" disabled=${position === 0} onClick=${() => go(position - 1)}><${Before} /></button>
        <h2>Image ${position}</h2>
        <button type="button" class="quiet icon" aria-label="Image after" disabled=${position === request.count - 1} onClick=${() => go(position + 1)}><${After} /></button>
      </nav>
      <${Own} job=${job} position=${position} card=${card} />
      ${card && html`<${Again} request=${request} position=${position} card=${card} again=${again} compare=${compare} />`}
    </div>
    ${size > 0 && html`<${Strip} job=${job} position=${position} stops=${stops} at=${at} go=${setAt} size=${size} caption=${caption} />`}
  </div>`;
}

/** The arrows turn to the image before and after, where they do not move a slider. */
const turning = (go, position, count) => (event) => {
  const to = position + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? NaN);
  if (event.target.type !== "range" && to >= 0 && to < count) go(to);
};

/** What this image alone is a function of. */
function Own({ job, position, card }) {
  const { request, urls, status } = job.view;
  const rows = [["Seed", request.seed], ["Index", request.first_index + position]];
  if (request.labels !== null) rows.unshift(["Class", className(request.labels[position], request, card)]);
  rows.push(["Made by", `${request.model}, ${request.steps} steps of ${request.sampler}`]);
  if (request.labels !== null && request.labels[position] !== request.null_class) rows.push(["Guidance", request.guidance_scale]);
  const png = urls.images.find((url) => url.endsWith(`/${position}.png`));
  return html`<dl class="facts">${rows.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>
    ${png && html`<p><a href=${png} download=${`${request.model}-${request.seed}-${request.first_index + position}.png`}>PNG</a> <small>with its settings inside: drop it here and they come back</small></p>`}
    ${!png && status === "running" && html`<p class="note">Still coming out of the noise.</p>`}`;
}

/** The same noise once more: as it was, or under every class or sampler. */
function Again({ request, position, card, again, compare }) {
  const [refusal, setRefusal] = useState(null);
  if (request.image !== null) return html`<p class="note">It began from a picture, which the service does not hand out again.</p>`;
  const settings = settingsOfImage(request, position);
  const act = (asking) => asking.catch((error) => setRefusal(asProblem(error)));
  const under = (axis, values) => act(compare({ ...settings, frames: "40" }, axis, values));
  return html`<div class="again" role="group" aria-label="The same noise once more">
    <button type="button" onClick=${() => act(again({ ...settings, frames: "100" }))}>Again with this seed</button>
    <small>this picture alone, every step of it shown</small>
    <p id="more-like">More like this: the same noise</p>
    ${card.classes.length > 1 && html`<button type="button" class="plain" aria-describedby="more-like" onClick=${() => under("label", card.classes.slice(0, 24).map((_, label) => String(label)))}>as every class</button>`}
    <button type="button" class="plain" aria-describedby="more-like" onClick=${() => under("sampler", card.samplers)}>by every sampler</button>
    ${refusal && html`<${Refusal} problem=${refusal} />`}
  </div>`;
}

/** x̂0 of every stop, small, in a row. */
function Strip({ job, position, stops, at, go, size, caption }) {
  if (stops.length === 0) return html`<p class="note strip-note">No frames show this image: they show a job's first 64. <q>Again with this seed</q> shows it alone.</p>`;
  const side = Math.max(size, 40);
  const stop = at ?? stops.length - 1;
  return html`<div class="strip" role="group" aria-label="x̂₀ of every step">
    ${stops.map((frame, k) => html`<button key=${k} type="button" aria-label=${caption(k)} aria-pressed=${String(k === stop)} title=${caption(k)} onClick=${() => go(k === stops.length - 1 ? null : k)}>
      <${Cell} job=${job} position=${position} at=${frame} size=${size} side=${side} />
    </button>`)}
  </div>`;
}
