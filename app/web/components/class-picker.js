import { html } from "../html.js";
import { Sample, useSamples } from "./samples.js";

const MOST_TILES = 40; // beyond that a list is easier to find something in

/** The choice of a class, by name and by what it looks like. `choose(label)` hears it as the API takes it. */
export function Classes({ card, label, choose }) {
  const sheet = useSamples(card);
  if (card.classes.length === 0) return null;
  const choices = [["cycle", "in turn"], ...card.classes.map((name, k) => [String(k), name])];
  if (card.null_class !== null) choices.unshift(["", "any"]);
  if (choices.length > MOST_TILES) return html`<${List} choices=${choices} label=${label} choose=${choose} />`;
  const tile = ([value, name]) => html`<label key=${value} title=${TITLES[value] ?? name}>
    <input type="radio" name="label" value=${value} checked=${value === label} onChange=${() => choose(value)} />
    ${value in TITLES ? html`<span class="sample glyph" aria-hidden="true">${value === "" ? "?" : "⟳"}</span>` : html`<${Sample} sheet=${sheet} position=${Number(value)} side=${34} />`}
    <span>${name}</span>
  </label>`;
  return html`<fieldset class="classes wide" data-long=${card.classes.some((name) => name.length > 3)}>
    <legend>Class</legend>
    <div>${choices.map(tile)}</div>
  </fieldset>`;
}

const TITLES = { "": "Any class: the model chooses", cycle: "Each class in turn" };

const List = ({ choices, label, choose }) => html`<div class="field wide">
  <label for="label">Class</label>
  <select id="label" value=${label} onChange=${(event) => choose(event.target.value)}>
    ${choices.map(([value, name]) => html`<option value=${value}>${name}</option>`)}
  </select>
</div>`;
