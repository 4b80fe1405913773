import { Problem } from "./api.js";

const TEXT_FIELDS = new Set(["model", "sampler"]); // the others are numbers in the API
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?$/;

/** The request form: offers what a model's card allows, and leaves the judging to the API. */
export class Form {
  #form;
  #submit;
  #cards = [];

  /** `submit(body)` sends the JSON text of a request; what it throws is shown beside the form. */
  constructor(form, submit) {
    this.#form = form;
    this.#submit = submit;
    this.#find("#model").addEventListener("change", () => this.#fit());
    this.#find("#dice").addEventListener("click", () => (this.#find("#seed").value = drawSeed()));
    form.addEventListener("submit", (event) => this.#send(event));
  }

  offer(cards) {
    this.#cards = cards;
    this.#find("#model").replaceChildren(...cards.map((card) => new Option(card.name)));
    this.#find("#fields").disabled = false;
    this.wait("");
    this.#fit();
  }

  /** Chooses a model; whether it is offered. */
  choose(model) {
    if (!this.#cards.some(({ name }) => name === model)) return false;
    this.#find("#model").value = model;
    this.#fit();
    return true;
  }

  /** Takes over what a job was asked for, but for the seed: asking again should bring other pictures. */
  adopt(request) {
    if (!this.choose(request.model)) return;
    this.#find("#label").value = sharedLabel(request);
    for (const name of ["count", "steps", "sampler", "guidance_scale"]) this.#form.elements[name].value = request[name];
  }

  /** Says why nothing can be asked for yet. Written only where it changes, as a screen reader speaks every write. */
  wait(reason) {
    const status = this.#find("#models-status");
    status.hidden = reason === "";
    if (status.textContent !== reason) status.textContent = reason;
  }

  #find(selector) {
    return this.#form.querySelector(selector);
  }

  /** Fits the fields to the chosen model. */
  #fit() {
    const card = this.#cards.find(({ name }) => name === this.#find("#model").value);
    this.#find("#label").replaceChildren(...classOptions(card));
    this.#find("#sampler").replaceChildren(...card.samplers.map((name) => new Option(name)));
    this.#find("#count-hint").textContent = `1 to ${card.max_count}`;
    this.#find("#steps-hint").textContent = `1 to ${card.num_train_timesteps}`;
    this.#find("#sampler").value = card.sampler;
    this.#find("#steps").value = card.steps;
    this.#find("#guidance").value = card.guidance_scale;
    this.#find("#model-about").href = `#model=${encodeURIComponent(card.name)}`;
    this.#give("#label", card.classes.length > 0);
    this.#give("#guidance", card.null_class !== null);
  }

  /** Shows a field, or hides it and keeps it out of the request. */
  #give(selector, given) {
    const input = this.#find(selector);
    input.disabled = !given;
    input.closest(".field").hidden = !given;
  }

  async #send(event) {
    event.preventDefault();
    this.#clearError();
    this.#find("#generate").disabled = true;
    try {
      await this.#submit(body(this.#form));
    } catch (error) {
      this.#showError(problemOf(error));
    } finally {
      this.#find("#generate").disabled = false;
    }
  }

  #clearError() {
    this.#find("#error").hidden = true;
    for (const input of this.#form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  }

  #showError(problem) {
    for (const { field } of problem.errors) this.#form.elements.namedItem(field)?.setAttribute("aria-invalid", "true");
    this.#find("#error").replaceChildren(...paragraphs(problem));
    this.#find("#error").hidden = false;
  }
}

/** Numbers go into the JSON as they were typed, so that a seed keeps all its digits; empty fields stay out. */
function body(form) {
  const given = [...new FormData(form)].filter(([, value]) => value.trim() !== "");
  const members = given.map(([name, value]) => `${JSON.stringify(name)}:${literal(name, value.trim())}`);
  return `{${members.join(",")}}`;
}

/** What is no number goes as text, and the API says what it wants instead. */
const literal = (name, value) =>
  !TEXT_FIELDS.has(name) && JSON_NUMBER.test(value) ? value : JSON.stringify(value);

function classOptions({ classes, null_class }) {
  const options = classes.map((name, label) => new Option(name, label));
  const all = [new Option("each in turn", "cycle"), ...options];
  return null_class === null ? all : [new Option("any class", ""), ...all];
}

/** The class of all images as the value of its option: empty for any class, and where the images differ. */
function sharedLabel({ labels, null_class }) {
  const [label, ...others] = new Set(labels);
  return label === null_class || others.length > 0 ? "" : (label ?? "");
}

/** 53 random bits, as the service draws them. */
function drawSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return ((BigInt(high >>> 11) << 32n) | BigInt(low)).toString();
}

/** fetch throws TypeError where nothing answers. */
function problemOf(error) {
  if (error instanceof Problem) return error;
  if (!(error instanceof TypeError)) throw error;
  return new Problem({ title: "The service cannot be reached", detail: "Check the connection and try again." });
}

/** The problem in its own words; errors of fields only where the detail does not already say them. */
function paragraphs({ title, detail, errors, retryAfter }) {
  const fields = errors
    .map(({ field, allowed, detail: reason }) => [field, reason ?? allowed])
    .filter(([, reason]) => !detail.includes(reason))
    .map(([field, reason]) => `${field}: ${reason}`);
  const retry = retryAfter === null ? [] : [`Try again in ${retryAfter} s.`];
  return [title, detail, ...fields, ...retry].filter(Boolean).map(paragraph);
}

function paragraph(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}
