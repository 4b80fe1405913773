import { html } from "../html.js";

/** A number input, with a slider if `max` is given. Any text can be typed; the API validates it. */
export function NumberField({ name, label, hint, value, set, invalid, min = 0, max, step = 1, mode = "numeric" }) {
  const onInput = (event) => set(event.target.value);
  return html`<div class="field">
    <label for=${name}>${label}</label>
    <input id=${name} name=${name} value=${value} inputmode=${mode} aria-describedby=${`${name}-hint`}
      aria-invalid=${invalid ? "true" : undefined} onInput=${onInput} />
    ${max && html`<input type="range" class="slider" min=${min} max=${max} step=${step} value=${value} aria-label=${`${label}, slider`} onInput=${onInput} />`}
    <small id=${`${name}-hint`}>${hint}</small>
  </div>`;
}

export function SelectField({ name, label, hint, value, set, options, invalid, fullWidth = false }) {
  return html`<div class=${fullWidth ? "field full-width" : "field"}>
    <label for=${name}>${label}</label>
    <select id=${name} name=${name} value=${value} aria-describedby=${hint ? `${name}-hint` : undefined}
      aria-invalid=${invalid ? "true" : undefined} onChange=${(event) => set(event.target.value)}>
      ${options.map((option) => html`<option key=${option} value=${option}>${option}</option>`)}
    </select>
    ${hint && html`<small id=${`${name}-hint`}>${hint}</small>`}
  </div>`;
}
