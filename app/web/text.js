/** How jobs are spoken of. */
import { ended } from "./client/api.js";

const STATUS = { queued: "Queued", running: "Running", finished: "Finished", failed: "Failed", canceled: "Canceled" };

export const SAMPLERS = {
  ddpm: "The original: random at each step. From 50 steps.",
  ddpm_beta: "As ddpm, with more noise put back. Many steps.",
  ddim: "No noise put back: straight on. From 20 steps.",
  dpmpp_2m: "DPM-Solver++: 20 steps do for ddpm's 1000.",
  heun: "Looks at each step twice. From 20 steps.",
};

export function statusWords(view) {
  const status = STATUS[view.status];
  return view.status === "failed" && view.error ? `${status}: ${view.error}` : status;
}

export function etaWords(view) {
  if (view.status === "finished") return `in ${duration(view.ended_at - view.started_at, 1)}`;
  if (ended(view)) return "";
  const words = [];
  if (view.status === "queued") words.push(placeWords(view.position));
  if (view.eta_seconds !== null) words.push(`about ${duration(view.eta_seconds)} left`);
  else words.push("the first job of a model waits while its network is compiled: a minute, or two");
  if (view.attempt > 1) words.push(`attempt ${view.attempt}`);
  return words.filter(Boolean).join(" · ");
}

function placeWords(position) {
  if (position === null) return "";
  if (position === 0) return "next in line";
  return position === 1 ? "1 job ahead" : `${position} jobs ahead`;
}

export function duration(seconds, digits = 0) {
  return seconds < 90 ? `${seconds.toFixed(digits)} s` : `${Math.round(seconds / 60)} min`;
}

export function ago(time) {
  const seconds = Date.now() / 1000 - time;
  if (seconds < 60) return "just now";
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return new Date(time * 1000).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
}

/** The name of one label; a model that is not served any more has lost its names. */
export const className = (label, { null_class }, card) =>
  label === null_class ? "any class" : (card?.classes[label] ?? `class ${label}`);

export function classWords(request, card) {
  if (request.labels === null) return "";
  const distinct = [...new Set(request.labels)];
  if (distinct.length === 1) return className(distinct[0], request, card);
  return distinct.length > 4 ? `${distinct.length} classes` : distinct.map((label) => className(label, request, card)).join(", ");
}

export const imagesWords = (count) => (count === 1 ? "1 image" : `${count} images`);

/** What a job was asked for, term by term. */
export function facts(request, card) {
  const rows = [["Model", request.model]];
  if (request.labels !== null) rows.push(["Class", classWords(request, card)]);
  rows.push(["Images", request.count], ["Seed", request.seed]);
  if (request.first_index > 0) rows.push(["First index", request.first_index]);
  rows.push(["Steps", request.steps], ["Sampler", request.sampler]);
  if (request.eta) rows.push(["Eta", request.eta]);
  if (request.null_class !== null) rows.push(["Guidance", request.guidance_scale]);
  if (request.spacing !== "trailing") rows.push(["Spacing", request.spacing]);
  return rows;
}

/** Where the pictures on show stand, of those that move together. */
export const stepWords = ({ step, steps, timestep }) => `step ${step} of ${steps} · t = ${timestep}`;
