import { html } from "../html.js";

const icon = (shape) => html`<svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round">${shape}</svg>`;

export const Dice = () => icon(html`<g><rect x="3" y="3" width="14" height="14" rx="3" /><g fill="currentColor" stroke="none">
  <circle cx="7" cy="7" r="1.2" /><circle cx="13" cy="7" r="1.2" /><circle cx="10" cy="10" r="1.2" /><circle cx="7" cy="13" r="1.2" /><circle cx="13" cy="13" r="1.2" /></g></g>`);

export const Lock = ({ closed }) => icon(html`<g><rect x="4" y="9" width="12" height="8" rx="2" /><path d=${closed ? "M7 9V6.5a3 3 0 0 1 6 0V9" : "M7 9V6a3 3 0 0 1 5.6-1.5"} /></g>`);

export const Play = () => icon(html`<path d="M6.5 4.5v11l9-5.5z" fill="currentColor" />`);

export const Pause = () => icon(html`<path d="M7 5v10M13 5v10" stroke-width="2.4" />`);

export const Close = () => icon(html`<path d="M5 5l10 10M15 5L5 15" />`);

export const Previous = () => icon(html`<path d="M12.5 4.5L7 10l5.5 5.5" />`);

export const Next = () => icon(html`<path d="M7.5 4.5L13 10l-5.5 5.5" />`);
