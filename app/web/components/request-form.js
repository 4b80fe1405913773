import { html } from "../html.js";
import { modelHref } from "../route.js";
import { SAMPLER_HINTS } from "../text.js";
import { ClassPicker } from "./class-picker.js";
import { CodeSnippet } from "./code-snippet.js";
import { ComparisonAxis } from "./comparison-axis.js";
import { ErrorMessage } from "./error-message.js";
import { NumberField, SelectField } from "./field.js";
import { SeedField } from "./seed-field.js";

/**
 * The settings of a request. The model's card sets the choices; the API validates the values. `comparison` is the axis
 * and values of a comparison or null; `openPng(file)` loads the settings inside a PNG.
 */
export function RequestForm({ cards, settings, change, chooseModel, comparison, setComparison, problem, submit, openPng, lastSeed }) {
  const card = cards.find(({ name }) => name === settings.model);
  const invalid = new Set(problem?.errors.map(({ field }) => field));
  const field = (name) => ({ name, value: settings[name], set: (value) => change({ [name]: value }), invalid: invalid.has(name) });
  const isCompared = (name) => comparison?.axis === name;
  const onSubmit = (event) => {
    event.preventDefault();
    submit();
  };
  return html`<form id="request-form" novalidate autocomplete="off" aria-label="Request" onSubmit=${onSubmit}>
    <div class="fields">
      <div class="field full-width">
        <label for="model">Model</label>
        <select id="model" name="model" value=${settings.model} aria-describedby="model-hint" onChange=${(event) => chooseModel(event.target.value)}>
          ${cards.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select>
        <small id="model-hint">${card.image_size} × ${card.image_size}, ${card.channels === 1 ? "grayscale" : "color"} · <a href=${modelHref(card.name)}>About this model</a></small>
      </div>
      ${comparison && html`<${ComparisonAxis} ...${comparison} card=${card} set=${setComparison} />`}
      ${!isCompared("label") && html`<${ClassPicker} card=${card} label=${settings.label} choose=${(label) => change({ label })} />`}
      <${NumberField} ...${field("count")} label="Images" hint=${`1 to ${card.max_count}`} min=${1} max=${64} />
      ${!isCompared("steps") && html`<${NumberField} ...${field("steps")} label="Denoising steps" hint=${`1 to ${card.num_train_timesteps}`} min=${1} max=${Math.min(100, card.num_train_timesteps)} />`}
      ${!isCompared("guidance_scale") && card.null_class !== null && html`<${NumberField} ...${field("guidance_scale")} label="Guidance scale" hint="1 is off, 3 is strong" min=${0} max=${8} step=${0.25} mode="decimal" />`}
      <${NumberField} ...${field("frames")} label="Frames" hint="steps shown, 0 to 100" min=${0} max=${100} />
      ${!isCompared("sampler") && html`<${SelectField} ...${field("sampler")} fullWidth=${true} label="Sampler" options=${card.samplers} hint=${SAMPLER_HINTS[settings.sampler]} />`}
      <${SeedField} seed=${settings.seed} last=${lastSeed} set=${(seed) => change({ seed })} invalid=${invalid.has("seed")} />
    </div>
    <button id="generate" type="submit">${comparison ? "Compare" : "Generate"}</button>
    ${problem && html`<${ErrorMessage} problem=${problem} />`}
    <details open=${settings.spacing !== "trailing" || settings.first_index !== "0"}>
      <summary>Advanced settings</summary>
      <div class="fields">
        <${NumberField} ...${field("first_index")} label="First index" hint="index of the first image under this seed" />
        <${SelectField} ...${field("spacing")} label="Spacing" options=${["trailing", "leading", "linspace"]} hint="which timesteps are used" />
        <${SelectField} ...${field("thresholding")} label="Thresholding" options=${["static", "dynamic", "none"]} hint="how x̂₀ is kept in range" />
        ${settings.sampler === "ddim" && html`<${NumberField} ...${field("eta")} label="Eta" hint="added noise: 0 is none, 1 is as ddpm" mode="decimal" />`}
        <${SelectField} ...${field("priority")} label="Priority" options=${["interactive", "batch"]} hint="batch jobs wait for interactive ones" />
      </div>
    </details>
    <${CodeSnippet} settings=${comparison ? { ...settings, [comparison.axis]: comparison.values[0] } : settings} card=${card} />
    <label class="open-png">
      <input type="file" accept="image/png" onChange=${({ target }) => { openPng(target.files[0]); target.value = ""; }} />
      <span>Drop or open a PNG from Noisemill to load its settings</span>
    </label>
  </form>`;
}
