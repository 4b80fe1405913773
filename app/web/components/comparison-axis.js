import { html } from "../html.js";
import { className } from "../text.js";

const MAX_VALUES = 6;

export const AXES = { sampler: "Samplers", steps: "Steps", guidance_scale: "Guidance scales", label: "Classes" };

export function initialValues(axis, card) {
  if (axis === "sampler") return [card.sampler, card.samplers.find((name) => name !== card.sampler) ?? card.sampler];
  if (axis === "steps") return ["5", String(card.steps)];
  if (axis === "guidance_scale") return ["1", "4"];
  return ["0", "1"];
}

const axesOf = (card) =>
  Object.keys(AXES).filter((axis) => (axis === "label" ? card.classes.length > 1 : axis !== "guidance_scale" || card.null_class !== null));

/** The setting in which the jobs of a comparison differ, and its values. */
export function ComparisonAxis({ axis, values, card, set }) {
  const change = (k, value) => set(axis, values.map((old, i) => (i === k ? value : old)));
  return html`<fieldset class="comparison-axis full-width">
    <legend>Setting to compare</legend>
    <div class="axes">${axesOf(card).map((name) => html`<label key=${name}>
      <input type="radio" name="axis" value=${name} checked=${name === axis} onChange=${() => set(name, initialValues(name, card))} />
      <span>${AXES[name]}</span></label>`)}</div>
    <ol>${values.map((value, k) => html`<li>
      <${Value} axis=${axis} value=${value} card=${card} k=${k} set=${(changed) => change(k, changed)} />
      ${values.length > 2 && html`<button type="button" class="text-button" aria-label=${`Remove value ${k + 1}`} onClick=${() => set(axis, values.filter((_, i) => i !== k))}>×</button>`}
    </li>`)}</ol>
    ${values.length < MAX_VALUES && html`<button type="button" class="text-button" onClick=${() => set(axis, [...values, values.at(-1)])}>Add a value</button>`}
    ${axis === "guidance_scale" && html`<small>Guidance has an effect only if a class is chosen.</small>`}
  </fieldset>`;
}

function Value({ axis, value, card, k, set }) {
  const name = `${AXES[axis]}, value ${k + 1}`;
  const onInput = (event) => set(event.target.value);
  if (axis === "steps" || axis === "guidance_scale") return html`<input value=${value} inputmode="decimal" aria-label=${name} onInput=${onInput} />`;
  const options = axis === "sampler" ? card.samplers.map((sampler) => [sampler, sampler]) : card.classes.map((text, label) => [String(label), text]);
  return html`<select value=${value} aria-label=${name} onChange=${onInput}>
    ${options.map(([option, text]) => html`<option key=${option} value=${option}>${text}</option>`)}
  </select>`;
}

export const axisValue = (axis, request) => String(axis === "label" ? request.labels[0] : request[axis]);

/** The value of the axis, as a heading. */
export function axisValueText(axis, request, card) {
  if (axis === "label") return className(request.labels?.[0], request, card);
  if (axis === "steps") return `${request.steps} steps`;
  if (axis === "guidance_scale") return `guidance ${request.guidance_scale}`;
  return request.sampler;
}
