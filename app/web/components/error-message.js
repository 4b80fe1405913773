import { html } from "../html.js";

/** A refusal in its own words; errors of fields only where the detail does not already say them. */
export function Refusal({ problem }) {
  const { title, detail, errors, retryAfter } = problem;
  const fields = errors
    .map(({ field, allowed, detail: reason }) => [field, reason ?? allowed])
    .filter(([, reason]) => !detail.includes(reason));
  return html`<div class="refusal" role="alert">
    <p>${title}</p>
    ${detail && html`<p>${detail}</p>`}
    ${fields.map(([field, reason]) => html`<p>${field}: ${reason}</p>`)}
    ${retryAfter && html`<p>Try again in ${retryAfter} s.</p>`}
  </div>`;
}
