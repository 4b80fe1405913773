/** Wording that several views share. Any other text is in the file of its view (views/) or component (components/). */
import { hasEnded } from "./client/api.js";

const STATUS = { queued: "Queued", running: "Running", finished: "Finished", failed: "Failed", canceled: "Canceled" };

export const SAMPLER_HINTS = {
  ddpm: "Random at each step. Good from 50 steps.",
  ddpm_beta: "Like ddpm with more noise. Needs many steps.",
  ddim: "Adds no noise. Good from 20 steps.",
  dpmpp_2m: "DPM-Solver++. Good from 20 steps.",
  heun: "Corrects each step. Good from 20 steps.",
};

export function statusText(view) {
  const status = STATUS[view.status];
  return view.status === "failed" && view.error ? `${status}: ${view.error}` : status;
}

export function etaText(view) {
  if (view.status === "finished") return `in ${formatDuration(view.ended_at - view.started_at, 1)}`;
  if (hasEnded(view)) return "";
  const parts = [];
  if (view.status === "queued") parts.push(queueText(view.position));
  if (view.eta_seconds !== null) parts.push(`about ${formatDuration(view.eta_seconds)} left`);
  else parts.push("a model's first job waits while its network is compiled (1 to 2 minutes)");
  if (view.attempt > 1) parts.push(`attempt ${view.attempt}`);
  return parts.filter(Boolean).join(" · ");
}

function queueText(position) {
  if (position === null) return "";
  if (position === 0) return "next in the queue";
  return position === 1 ? "1 job ahead" : `${position} jobs ahead`;
}

export function formatDuration(seconds, digits = 0) {
  return seconds < 90 ? `${seconds.toFixed(digits)} s` : `${Math.round(seconds / 60)} min`;
}

/** `time` in seconds since 1970. */
export function formatAge(time) {
  const seconds = Date.now() / 1000 - time;
  if (seconds < 60) return "just now";
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return new Date(time * 1000).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
}

/** The name of a label; its number if the model is no longer served. */
export const className = (label, { null_class }, card) =>
  label === null_class ? "any class" : (card?.classes[label] ?? `class ${label}`);

function classesText(request, card) {
  const distinct = [...new Set(request.labels)];
  return distinct.length > 4 ? `${distinct.length} classes` : distinct.map((label) => className(label, request, card)).join(", ");
}

export const countText = (count) => (count === 1 ? "1 image" : `${count} images`);

/** A request as `[term, value]` pairs. */
export function requestFacts(request, card) {
  const facts = [["Model", request.model]];
  if (request.labels !== null) facts.push(["Class", classesText(request, card)]);
  facts.push(["Images", request.count], ["Seed", request.seed]);
  if (request.first_index > 0) facts.push(["First index", request.first_index]);
  facts.push(["Steps", request.steps], ["Sampler", request.sampler]);
  if (request.eta) facts.push(["Eta", request.eta]);
  if (request.null_class !== null) facts.push(["Guidance scale", request.guidance_scale]);
  if (request.spacing !== "trailing") facts.push(["Spacing", request.spacing]);
  return facts;
}

/** `build` names the software and hardware that computed a job; jobs of older versions have none. */
export const buildFacts = ({ build }) => (build ? [["Build", build]] : []);

export const stepText = ({ step, steps, timestep }) => `step ${step} of ${steps} · t = ${timestep}`;

/** Label of a training's loss. It names the weighting: losses of different weightings are not comparable. */
export function lossLabel({ recipe }) {
  if (!recipe) return "Training loss";
  return recipe.min_snr_gamma == null ? "Training loss (MSE)" : "Training loss (min-SNR weighted)";
}
