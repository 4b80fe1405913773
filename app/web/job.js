import { cancel, ended } from "./api.js";
import { Follower } from "./follower.js";
import { Plate, SHOWN_IMAGES } from "./plate.js";

const STATUS = { queued: "Queued", running: "Running", finished: "Finished", failed: "Failed", canceled: "Canceled" };
const DOWNLOADS = { "#download-png": "grid", "#download-gif": "process", "#download-zip": "archive" };

/** The panel that shows one job, from its place in the queue to its downloads. */
export class JobPanel {
  #root;
  #plate;
  #cardOf;
  #onKnown;
  #onEnded;
  #follower = null;
  #view = null;

  /**
   * `cardOf(name)` is a model's card, if it is served. `onKnown(view)` is called once a job put on show is known,
   * and `onEnded()` when it ends while on show.
   */
  constructor(root, { cardOf, onKnown, onEnded }) {
    this.#root = root;
    this.#cardOf = cardOf;
    this.#onKnown = onKnown;
    this.#onEnded = onEnded;
    this.#plate = new Plate(this.#find("#plate"));
    this.#find("#cancel").addEventListener("click", () => this.#cancel());
  }

  show(id) {
    this.close();
    this.#root.hidden = false;
    this.#root.dataset.job = id;
    this.#say("Looking for the job…", "");
    this.#follower = new Follower(id, {
      view: (view) => this.#render(view),
      replay: () => this.#plate.rewind(),
      frame: (frame) => this.#plate.add(frame),
      connected: (is) => (this.#find("#connection").hidden = is),
      missing: (problem) => this.#say(problem.title, problem.detail),
    });
  }

  close() {
    this.#follower?.close();
    this.#view = null;
    this.#root.hidden = true;
    delete this.#root.dataset.status;
    this.#plate.prepare(0, 1);
    this.#find("#facts").replaceChildren();
    this.#find("#connection").hidden = true;
    this.#find("#cancel").hidden = true;
    this.#offerDownloads({});
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }

  #render(view) {
    const before = this.#view;
    this.#view = view;
    this.#root.dataset.status = view.status;
    if (before === null) {
      this.#introduce(view);
      this.#onKnown(view);
    }
    this.#say(statusWords(view), etaWords(view));
    this.#find("#progress").value = view.progress.steps_done / view.progress.steps;
    this.#find("#cancel").hidden = ended(view);
    if (view.status === "finished") this.#plate.finish(view.urls.images);
    this.#offerDownloads(view.urls);
    if (before !== null && !ended(before) && ended(view)) this.#onEnded();
  }

  #introduce(view) {
    const card = this.#cardOf(view.request.model);
    this.#plate.prepare(view.request.count, card?.image_size ?? 1);
    this.#find("#facts").replaceChildren(...facts(view.request, card).flatMap(entry));
    this.#find("#plate").scrollIntoView({ block: "nearest" }); // on a phone the form fills the screen
  }

  /** Written only where it changes, for a screen reader speaks every write. */
  #say(status, eta) {
    const live = this.#find("#status");
    if (live.textContent !== status) live.textContent = status;
    this.#find("#eta").textContent = eta;
  }

  #offerDownloads(urls) {
    for (const [selector, name] of Object.entries(DOWNLOADS)) {
      const link = this.#find(selector);
      link.hidden = !urls[name];
      if (urls[name]) link.href = urls[name];
    }
  }

  async #cancel() {
    const button = this.#find("#cancel");
    button.disabled = true;
    // A job that has ended meanwhile says so in its stream; one that could not be reached can be asked again.
    await cancel(this.#view).catch((error) => (this.#find("#eta").textContent = error.detail ?? "Not canceled."));
    button.disabled = false;
  }
}

function statusWords(view) {
  const status = STATUS[view.status];
  return view.status === "failed" && view.error ? `${status}: ${view.error}` : status;
}

function etaWords(view) {
  if (view.status === "finished") return `in ${duration(view.ended_at - view.started_at, 1)}`;
  if (ended(view)) return "";
  const words = [];
  if (view.status === "queued") words.push(placeWords(view.position));
  if (view.eta_seconds !== null) words.push(`about ${duration(view.eta_seconds)} left`);
  if (view.attempt > 1) words.push(`attempt ${view.attempt}`);
  return words.filter(Boolean).join(" · ");
}

function placeWords(position) {
  if (position === null) return "";
  if (position === 0) return "next in line";
  return position === 1 ? "1 job ahead" : `${position} jobs ahead`;
}

function duration(seconds, digits = 0) {
  return seconds < 90 ? `${seconds.toFixed(digits)} s` : `${Math.round(seconds / 60)} min`;
}

function facts(request, card) {
  const rows = [["Model", request.model]];
  if (request.labels !== null) rows.push(["Class", classWords(request, card)]);
  rows.push(["Images", countWords(request.count)], ["Seed", request.seed]);
  rows.push(["Steps", request.steps], ["Sampler", request.sampler]);
  if (request.null_class !== null) rows.push(["Guidance", request.guidance_scale]);
  return rows;
}

const countWords = (count) => (count > SHOWN_IMAGES ? `${count}, the first ${SHOWN_IMAGES} shown` : count);

function classWords({ labels, null_class }, card) {
  const distinct = [...new Set(labels)];
  const name = (label) => (label === null_class ? "any" : (card?.classes[label] ?? label));
  return distinct.map(name).join(", ");
}

function entry([term, value]) {
  const dt = document.createElement("dt");
  const dd = document.createElement("dd");
  dt.textContent = term;
  dd.textContent = value;
  return [dt, dd];
}
