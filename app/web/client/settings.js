/**
 * What the form holds: text, as it was typed, for seeds reach 2^64 where numbers round. An empty field is left to the API.
 *
 * `label` is a class by number, "cycle", or empty for the null class.
 */
export const BLANK = {
  model: "", label: "", count: "16", steps: "", sampler: "", guidance_scale: "", seed: "", frames: "20",
  first_index: "0", spacing: "trailing", thresholding: "", eta: "", priority: "interactive",
};

const TEXT_FIELDS = new Set(["model", "sampler", "spacing", "thresholding", "priority"]); // the others are numbers
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?$/;
const UNSAID = { first_index: "0", frames: "20", spacing: "trailing", priority: "interactive" }; // the API's defaults

/** The settings that a model's card recommends; `kept` are taken over. */
export const recommended = (card, kept = {}) => ({
  ...BLANK,
  model: card.name,
  label: card.classes.length > 0 ? "cycle" : "",
  steps: String(card.steps),
  sampler: card.sampler,
  guidance_scale: String(card.guidance_scale),
  thresholding: card.thresholding,
  ...kept,
});

/** The JSON text of a request. Numbers go as they were typed; what is no number goes as text, and the API judges it. */
export function body(settings, card) {
  const given = Object.entries(settings).filter(([name, value]) => value.trim() !== "" && says(name, value, settings, card));
  return `{${given.map(([name, value]) => `${JSON.stringify(name)}: ${literal(name, value.trim())}`).join(", ")}}`;
}

function says(name, value, { sampler }, card) {
  if (name === "label") return card.classes.length > 0;
  if (name === "guidance_scale") return card.null_class !== null;
  if (name === "eta") return sampler === "ddim";
  if (name === "thresholding") return value !== card.thresholding;
  return UNSAID[name] !== value;
}

const literal = (name, value) =>
  !TEXT_FIELDS.has(name) && JSON_NUMBER.test(value) ? value : JSON.stringify(value);

/** The settings that a job was asked for with. */
export const settingsOf = (request) => ({
  ...sharedSettings(request),
  label: sharedLabel(request),
  count: String(request.count),
  first_index: String(request.first_index),
  frames: request.frames === request.steps ? BLANK.frames : String(request.frames), // there are no more than steps
  priority: request.priority,
});

/** Those that ask for one image of it again, alone. */
export const settingsOfImage = (request, position) => ({
  ...BLANK,
  ...sharedSettings(request),
  label: request.labels === null ? "" : labelText(request.labels[position], request.null_class),
  count: "1",
  first_index: String(request.first_index + position),
});

/** Those that a PNG made here carries, for the model whose card this is. */
export const settingsOfRecipe = (recipe, card) => ({
  ...recommended(card),
  ...sharedSettings(recipe),
  model: card.name,
  label: recipe.label === undefined ? "" : labelText(recipe.label, card.null_class),
  count: "1",
  first_index: String(recipe.index),
});

const sharedSettings = ({ model, seed, steps, sampler, guidance_scale, spacing, thresholding, eta }) => ({
  model: model ?? "",
  seed: String(seed),
  steps: String(steps),
  sampler,
  guidance_scale: String(guidance_scale),
  spacing,
  thresholding,
  eta: eta === null || eta === undefined ? "" : String(eta),
});

const labelText = (label, nullClass) => (label === nullClass ? "" : String(label));

/** The class of all images; "cycle" where they are in turn, and empty where they differ in another way. */
function sharedLabel({ labels, null_class, first_index }) {
  if (labels === null) return "";
  const distinct = new Set(labels);
  if (distinct.size === 1) return labelText(labels[0], null_class);
  const classes = null_class ?? Math.max(...labels) + 1;
  return labels.every((label, k) => label === (first_index + k) % classes) ? "cycle" : "";
}

/** 53 random bits, as the service draws them. */
export function drawSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return ((BigInt(high >>> 11) << 32n) | BigInt(low)).toString();
}
