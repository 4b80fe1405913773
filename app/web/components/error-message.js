import { html } from "../html.js";

/** An error response: title, detail, and the errors of fields that the detail does not mention. */
export function ErrorMessage({ problem }) {
  const { title, detail, errors, retryAfter } = problem;
  const fields = errors
    .map(({ field, allowed, detail: reason }) => [field, reason ?? allowed])
    .filter(([, reason]) => !detail.includes(reason));
  return html`<div class="error-message" role="alert">
    <p>${title}</p>
    ${detail && html`<p>${detail}</p>`}
    ${fields.map(([field, reason]) => html`<p>${field}: ${reason}</p>`)}
    ${retryAfter && html`<p>Try again in ${retryAfter} s.</p>`}
  </div>`;
}
