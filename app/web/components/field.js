import { html } from "../html.js";

/** A number, typed, or drawn along where `most` is given; the API judges it, so anything can be typed. */
export function NumberField({ name, words, hint, value, set, wrong, least = 0, most, step = 1, mode = "numeric" }) {
  const hear = (event) => set(event.target.value);
  return html`<div class="field">
    <label for=${name}>${words}</label>
    <input id=${name} name=${name} value=${value} inputmode=${mode} aria-describedby=${`${name}-hint`}
      aria-invalid=${wrong ? "true" : undefined} onInput=${hear} />
    ${most && html`<input type="range" class="drag" min=${least} max=${most} step=${step} value=${value} aria-label=${`${words}, to drag`} onInput=${hear} />`}
    <small id=${`${name}-hint`}>${hint}</small>
  </div>`;
}

export function ChoiceField({ name, words, hint, value, set, options, wrong, wide = false }) {
  return html`<div class=${wide ? "field wide" : "field"}>
    <label for=${name}>${words}</label>
    <select id=${name} name=${name} value=${value} aria-describedby=${hint ? `${name}-hint` : undefined}
      aria-invalid=${wrong ? "true" : undefined} onChange=${(event) => set(event.target.value)}>
      ${options.map((option) => html`<option key=${option} value=${option}>${option}</option>`)}
    </select>
    ${hint && html`<small id=${`${name}-hint`}>${hint}</small>`}
  </div>`;
}
