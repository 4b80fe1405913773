import { Classes } from "./class-picker.js";
import { ChoiceField, NumberField } from "./field.js";
import { html } from "../html.js";
import { Refusal } from "./error-message.js";
import { SeedField } from "./seed-field.js";
import { Snippet } from "./code-snippet.js";
import { modelAt } from "../route.js";
import { Vary } from "./comparison-axis.js";
import { SAMPLERS } from "../text.js";

/**
 * The request: offers what a model's card allows, and leaves the judging to the API. `vary` is what a comparison differs
 * in, or null; `open(file)` takes a PNG that was made here.
 */
export function Form({ cards, settings, change, choose, vary, setVary, refusal, submit, open, last }) {
  const card = cards.find(({ name }) => name === settings.model);
  const wrong = new Set(refusal?.errors.map(({ field }) => field));
  const field = (name) => ({ name, value: settings[name], set: (value) => change({ [name]: value }), wrong: wrong.has(name) });
  const varied = (name) => vary?.axis === name;
  const send = (event) => {
    event.preventDefault();
    submit();
  };
  return html`<form id="ask" novalidate autocomplete="off" aria-label="What to generate" onSubmit=${send}>
    <div class="fields">
      <div class="field wide">
        <label for="model">Model</label>
        <select id="model" name="model" value=${settings.model} aria-describedby="model-hint" onChange=${(event) => choose(event.target.value)}>
          ${cards.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select>
        <small id="model-hint">${card.image_size} × ${card.image_size}, ${card.channels === 1 ? "grey" : "colour"} · <a href=${modelAt(card.name)}>About this model</a></small>
      </div>
      ${vary && html`<${Vary} ...${vary} card=${card} set=${setVary} />`}
      ${!varied("label") && html`<${Classes} card=${card} label=${settings.label} choose=${(label) => change({ label })} />`}
      <${NumberField} ...${field("count")} words="Images" hint=${`1 to ${card.max_count}`} least=${1} most=${64} />
      ${!varied("steps") && html`<${NumberField} ...${field("steps")} words="Steps" hint=${`more is finer, to ${card.num_train_timesteps}`} least=${1} most=${Math.min(100, card.num_train_timesteps)} />`}
      ${!varied("guidance_scale") && card.null_class !== null && html`<${NumberField} ...${field("guidance_scale")} words="Guidance" hint="1 is none, 3 is strong" least=${0} most=${8} step=${0.25} mode="decimal" />`}
      <${NumberField} ...${field("frames")} words="Frames" hint="steps to show, to 100" least=${0} most=${100} />
      ${!varied("sampler") && html`<${ChoiceField} ...${field("sampler")} wide=${true} words="Sampler" options=${card.samplers} hint=${SAMPLERS[settings.sampler]} />`}
      <${SeedField} seed=${settings.seed} last=${last} set=${(seed) => change({ seed })} wrong=${wrong.has("seed")} />
    </div>
    <button id="generate" type="submit">${vary ? "Compare" : "Generate"}</button>
    ${refusal && html`<${Refusal} problem=${refusal} />`}
    <details class="more" open=${settings.spacing !== "trailing" || settings.first_index !== "0"}>
      <summary>More</summary>
      <div class="fields">
        <${NumberField} ...${field("first_index")} words="First index" hint="image k of a seed, alone" />
        <${ChoiceField} ...${field("spacing")} words="Spacing" options=${["trailing", "leading", "linspace"]} hint="how steps are spread" />
        <${ChoiceField} ...${field("thresholding")} words="Thresholding" options=${["static", "dynamic", "none"]} hint="how x̂₀ is kept in range" />
        ${settings.sampler === "ddim" && html`<${NumberField} ...${field("eta")} words="Eta" hint="noise added: 0 none, 1 as ddpm" mode="decimal" />`}
        <${ChoiceField} ...${field("priority")} words="Priority" options=${["interactive", "batch"]} hint="batch gives way to others" />
      </div>
    </details>
    <${Snippet} settings=${vary ? { ...settings, [vary.axis]: vary.values[0] } : settings} card=${card} />
    <label class="open">
      <input type="file" accept="image/png" onChange=${({ target }) => { open(target.files[0]); target.value = ""; }} />
      <span>Drop a PNG made here, or open one: its settings come back</span>
    </label>
  </form>`;
}
