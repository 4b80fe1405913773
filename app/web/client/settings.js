/**
 * The settings of the request form: strings as typed, because a number cannot represent every seed. An empty field means
 * the API's default.
 *
 * `label` is a class number, "cycle", or empty for the null class.
 */
export const EMPTY_SETTINGS = {
  model: "", label: "", count: "16", steps: "", sampler: "", guidance_scale: "", seed: "", frames: "20",
  first_index: "0", spacing: "trailing", thresholding: "", eta: "", priority: "interactive",
};

const TEXT_FIELDS = new Set(["model", "sampler", "spacing", "thresholding", "priority"]); // the others are numbers
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?$/;
const API_DEFAULTS = { first_index: "0", frames: "20", spacing: "trailing", priority: "interactive" }; // omitted from requests

/** The settings that a model's card recommends, with `overrides`. */
export const recommendedSettings = (card, overrides = {}) => ({
  ...EMPTY_SETTINGS,
  model: card.name,
  label: card.classes.length > 0 ? "cycle" : "",
  steps: String(card.steps),
  sampler: card.sampler,
  guidance_scale: String(card.guidance_scale),
  thresholding: card.thresholding,
  ...overrides,
});

/** The JSON text of a request. A value that is not a number is sent as a string, for the API to reject. */
export function requestBody(settings, card) {
  const fields = Object.entries(settings).filter(([name, value]) => value.trim() !== "" && isSent(name, value, settings, card));
  return `{${fields.map(([name, value]) => `${JSON.stringify(name)}: ${literal(name, value.trim())}`).join(", ")}}`;
}

function isSent(name, value, { sampler }, card) {
  if (name === "label") return card.classes.length > 0;
  if (name === "guidance_scale") return card.null_class !== null;
  if (name === "eta") return sampler === "ddim";
  if (name === "thresholding") return value !== card.thresholding;
  return API_DEFAULTS[name] !== value;
}

const literal = (name, value) =>
  !TEXT_FIELDS.has(name) && JSON_NUMBER.test(value) ? value : JSON.stringify(value);

/** The settings that a job was requested with. */
export const settingsFromJob = (request) => ({
  ...sharedSettings(request),
  label: sharedLabel(request),
  count: String(request.count),
  first_index: String(request.first_index),
  frames: request.frames === request.steps ? EMPTY_SETTINGS.frames : String(request.frames), // the API caps frames at steps
  priority: request.priority,
});

/** Settings that request one image of a job again, alone. */
export const settingsFromImage = (request, position) => ({
  ...EMPTY_SETTINGS,
  ...sharedSettings(request),
  label: request.labels === null ? "" : labelSetting(request.labels[position], request.null_class),
  count: "1",
  first_index: String(request.first_index + position),
});

/** Settings from the recipe inside a PNG, for the model with this card. */
export const settingsFromRecipe = (recipe, card) => ({
  ...recommendedSettings(card),
  ...sharedSettings(recipe),
  model: card.name,
  label: recipe.label === undefined ? "" : labelSetting(recipe.label, card.null_class),
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

const labelSetting = (label, nullClass) => (label === nullClass ? "" : String(label));

/** The class of all images, "cycle" if they take the classes in turn, otherwise empty. */
function sharedLabel({ labels, null_class, first_index }) {
  if (labels === null) return "";
  const distinct = new Set(labels);
  if (distinct.size === 1) return labelSetting(labels[0], null_class);
  const classes = null_class ?? Math.max(...labels) + 1;
  return labels.every((label, k) => label === (first_index + k) % classes) ? "cycle" : "";
}

/** 53 random bits, the same range as the service's random seeds. */
export function randomSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return ((BigInt(high >>> 11) << 32n) | BigInt(low)).toString();
}
