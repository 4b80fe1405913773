import { toProblem } from "../client/api.js";
import { settingsFromImage } from "../client/settings.js";
import { useImageSize, useJob } from "../client/use-job.js";
import { ErrorMessage } from "../components/error-message.js";
import { Facts } from "../components/facts.js";
import { Close, Next, Previous } from "../components/icons.js";
import { ImageCanvas } from "../components/image-canvas.js";
import { JobUnavailable } from "../components/job-panel.js";
import { Timeline } from "../components/timeline.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { buildFacts, className, stepText } from "../text.js";

const MAX_CLASSES = 24; // in one comparison

/** A dialog with one image: its denoising steps, the settings that reproduce it, and variations of the same noise. */
export function ImageDialog({ job: id, position, cards, show, close, rerun, compare }) {
  const dialog = useRef();
  const job = useJob(id);
  useLayoutEffect(() => dialog.current.showModal(), []);
  const closeOnBackdrop = (event) => event.target === dialog.current && dialog.current.close();
  return html`<dialog ref=${dialog} class="image-dialog" aria-label=${`Image ${position}`} onClose=${close} onClick=${closeOnBackdrop}
    onKeyDown=${arrowKeys(show, position, job.view?.request.count ?? 0)}>
    <div class="dialog-body">
      <button type="button" class="text-button icon-button dialog-close" aria-label="Close" onClick=${() => dialog.current.close()}><${Close} /></button>
      ${job.view === null || position >= job.view.request.count
        ? html`<${JobUnavailable} job=${job} />`
        : html`<${ImageDetail} job=${job} position=${position} cards=${cards} show=${show} rerun=${rerun} compare=${compare} />`}
    </div>
  </dialog>`;
}

function ImageDetail({ job, position, cards, show, rerun, compare }) {
  const [frame, setFrame] = useState(null); // index into this image's own frames; null: the end
  useEffect(() => setFrame(null), [position]);
  const { request } = job.view;
  const card = cards.find(({ name }) => name === request.model);
  const size = useImageSize(job, card);
  const indices = job.frames.indicesOf(position);
  const caption = (index) => stepText(job.frames.get(indices[index]));
  return html`<div class="image-detail">
    <div class="image-large">
      ${size > 0 && html`<${ImageCanvas} job=${job} position=${position} frame=${frame === null ? null : indices[frame]} size=${size} maxSide=${Math.min(innerWidth - 64, innerHeight - 330, 480)} name=${`Image ${position}`} />`}
      <${Timeline} length=${indices.length} frame=${frame} setFrame=${setFrame} caption=${caption} />
    </div>
    <div class="image-info">
      <nav aria-label="Other images">
        <button type="button" class="text-button icon-button" aria-label="Previous image" disabled=${position === 0} onClick=${() => show(position - 1)}><${Previous} /></button>
        <h2>Image ${position}</h2>
        <button type="button" class="text-button icon-button" aria-label="Next image" disabled=${position === request.count - 1} onClick=${() => show(position + 1)}><${Next} /></button>
      </nav>
      <${Facts} facts=${imageFacts(job.view, position, card)} />
      <${Download} view=${job.view} position=${position} />
      ${card && html`<${Variations} request=${request} position=${position} card=${card} rerun=${rerun} compare=${compare} />`}
    </div>
    ${size > 0 && html`<${FrameStrip} job=${job} position=${position} indices=${indices} frame=${frame} setFrame=${setFrame} size=${size} caption=${caption} />`}
  </div>`;
}

/** Left and right arrow show the previous and next image, except on a slider. */
const arrowKeys = (show, position, count) => (event) => {
  const target = position + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? NaN);
  if (event.target.type !== "range" && target >= 0 && target < count) show(target);
};

function imageFacts(view, position, card) {
  const { request } = view;
  const hasClass = request.labels !== null && request.labels[position] !== request.null_class;
  return [
    ...(request.labels === null ? [] : [["Class", className(request.labels[position], request, card)]]),
    ["Seed", request.seed],
    ["Index", request.first_index + position],
    ["Model", request.model],
    ["Sampler", `${request.steps} steps of ${request.sampler}`],
    ...(hasClass ? [["Guidance scale", request.guidance_scale]] : []),
    ...buildFacts(view),
  ];
}

function Download({ view: { request, urls, status }, position }) {
  const png = urls.images.find((url) => url.endsWith(`/${position}.png`));
  if (!png) return status === "running" && html`<p class="note">This image is not finished yet.</p>`;
  const file = `${request.model}-${request.seed}-${request.first_index + position}.png`;
  return html`<p><a href=${png} download=${file}>PNG</a> <small>contains its settings: drop it on this page to load them</small></p>`;
}

/** Generates from the same noise again: unchanged, or with every class or sampler. */
function Variations({ request, position, card, rerun, compare }) {
  const [problem, setProblem] = useState(null);
  if (request.image !== null) return html`<p class="note">This image started from an uploaded image, which the service does not return, so it cannot be generated again here.</p>`;
  const settings = settingsFromImage(request, position);
  const run = (submission) => submission.catch((error) => setProblem(toProblem(error)));
  const compareOver = (axis, values) => run(compare({ ...settings, frames: "40" }, axis, values));
  const labels = card.classes.slice(0, MAX_CLASSES).map((_, label) => String(label));
  return html`<div class="variations" role="group" aria-label="Generate from the same noise">
    <button type="button" onClick=${() => run(rerun({ ...settings, frames: "100" }))}>Generate this image again</button>
    <small>the same image alone, with every step</small>
    <p id="variations-title">Same noise, different settings</p>
    ${labels.length > 1 && html`<button type="button" class="secondary" aria-describedby="variations-title" onClick=${() => compareOver("label", labels)}>Every class</button>`}
    <button type="button" class="secondary" aria-describedby="variations-title" onClick=${() => compareOver("sampler", card.samplers)}>Every sampler</button>
    ${problem && html`<${ErrorMessage} problem=${problem} />`}
  </div>`;
}

/** x̂0 of every frame in a row of small images. */
function FrameStrip({ job, position, indices, frame, setFrame, size, caption }) {
  if (indices.length === 0) return html`<p class="note strip-note">No steps to show: a job's steps show its first 64 images only. <q>Generate this image again</q> shows them.</p>`;
  const selected = frame ?? indices.length - 1;
  return html`<div class="frame-strip" role="group" aria-label="x̂₀ at every step">
    ${indices.map((index, k) => html`<button key=${k} type="button" aria-label=${caption(k)} aria-pressed=${String(k === selected)} title=${caption(k)} onClick=${() => setFrame(k === indices.length - 1 ? null : k)}>
      <${ImageCanvas} job=${job} position=${position} frame=${index} size=${size} maxSide=${Math.max(size, 40)} />
    </button>`)}
  </div>`;
}
