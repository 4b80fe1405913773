import { html } from "../html.js";

/** `[term, value]` pairs as a definition list. */
export const Facts = ({ facts, label }) => html`<dl class="facts" aria-label=${label}>
  ${facts.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}
</dl>`;
