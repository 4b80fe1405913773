import { html } from "../html.js";
import { className } from "../text.js";

const MOST = 6;

export const AXES = { sampler: "Samplers", steps: "Steps", guidance_scale: "Guidance", label: "Classes" };

/** What a comparison begins with. */
export function firstValues(axis, card) {
  if (axis === "sampler") return [card.sampler, card.samplers.find((name) => name !== card.sampler) ?? card.sampler];
  if (axis === "steps") return ["5", String(card.steps)];
  if (axis === "guidance_scale") return ["1", "4"];
  return ["0", "1"];
}

export const axesOf = (card) =>
  Object.keys(AXES).filter((axis) => (axis === "label" ? card.classes.length > 1 : axis !== "guidance_scale" || card.null_class !== null));

/** What differs between the jobs of a comparison, and in which values. */
export function Vary({ axis, values, card, set }) {
  const change = (k, value) => set(axis, values.map((old, i) => (i === k ? value : old)));
  return html`<fieldset class="vary wide">
    <legend>What differs</legend>
    <div class="axes">${axesOf(card).map((name) => html`<label key=${name}>
      <input type="radio" name="axis" value=${name} checked=${name === axis} onChange=${() => set(name, firstValues(name, card))} />
      <span>${AXES[name]}</span></label>`)}</div>
    <ol>${values.map((value, k) => html`<li>
      <${Value} axis=${axis} value=${value} card=${card} k=${k} set=${(given) => change(k, given)} />
      ${values.length > 2 && html`<button type="button" class="quiet" aria-label=${`Leave out value ${k + 1}`} onClick=${() => set(axis, values.filter((_, i) => i !== k))}>×</button>`}
    </li>`)}</ol>
    ${values.length < MOST && html`<button type="button" class="quiet" onClick=${() => set(axis, [...values, values.at(-1)])}>One more</button>`}
    ${axis === "guidance_scale" && html`<small>Guidance acts where a class is asked for.</small>`}
  </fieldset>`;
}

function Value({ axis, value, card, k, set }) {
  const name = `${AXES[axis]}, value ${k + 1}`;
  const hear = (event) => set(event.target.value);
  if (axis === "steps" || axis === "guidance_scale") return html`<input value=${value} inputmode="decimal" aria-label=${name} onInput=${hear} />`;
  const options = axis === "sampler" ? card.samplers.map((sampler) => [sampler, sampler]) : card.classes.map((words, label) => [String(label), words]);
  return html`<select value=${value} aria-label=${name} onChange=${hear}>
    ${options.map(([option, words]) => html`<option key=${option} value=${option}>${words}</option>`)}
  </select>`;
}

export const valueOf = (axis, request) => String(axis === "label" ? request.labels[0] : request[axis]);

/** One value in a word or two, as a heading. */
export function valueWords(axis, request, card) {
  if (axis === "label") return className(request.labels?.[0], request, card);
  if (axis === "steps") return `${request.steps} steps`;
  if (axis === "guidance_scale") return `guidance ${request.guidance_scale}`;
  return request.sampler;
}
