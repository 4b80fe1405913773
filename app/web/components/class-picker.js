import { html } from "../html.js";
import { Sample, useSampleSheet } from "./samples.js";

const MAX_TILES = 40; // with more classes a list is easier to search

const TITLES = { "": "Any class: the model chooses", cycle: "Each class in turn" };

/** Choice of a class, by name and sample. `choose(label)` gets the value for the API. */
export function ClassPicker({ card, label, choose }) {
  const sheet = useSampleSheet(card);
  if (card.classes.length === 0) return null;
  const choices = [["cycle", "in turn"], ...card.classes.map((name, k) => [String(k), name])];
  if (card.null_class !== null) choices.unshift(["", "any"]);
  if (choices.length > MAX_TILES) return html`<${ClassList} choices=${choices} label=${label} choose=${choose} />`;
  const tile = ([value, name]) => html`<label key=${value} title=${TITLES[value] ?? name}>
    <input type="radio" name="label" value=${value} checked=${value === label} onChange=${() => choose(value)} />
    ${value in TITLES ? html`<span class="sample symbol" aria-hidden="true">${value === "" ? "?" : "⟳"}</span>` : html`<${Sample} sheet=${sheet} position=${Number(value)} side=${34} />`}
    <span>${name}</span>
  </label>`;
  return html`<fieldset class="class-picker full-width" data-long-names=${card.classes.some((name) => name.length > 3)}>
    <legend>Class</legend>
    <div>${choices.map(tile)}</div>
  </fieldset>`;
}

const ClassList = ({ choices, label, choose }) => html`<div class="field full-width">
  <label for="label">Class</label>
  <select id="label" value=${label} onChange=${(event) => choose(event.target.value)}>
    ${choices.map(([value, name]) => html`<option value=${value}>${name}</option>`)}
  </select>
</div>`;
