import { generate } from "./api.js";
import { getJob } from "./job-cache.js";
import { randomSeed, requestBody } from "./settings.js";

/** Submits one job and returns its id. Throws as `generate` does. */
export async function submit(settings, card) {
  const view = await generate(requestBody(settings, card));
  getJob(view.id).setView(view);
  return view.id;
}

/** Submits a job for each value of one setting, with the same seed and equal other settings; returns their ids. */
export async function submitEach(settings, axis, values, card) {
  const seed = settings.seed || randomSeed();
  const ids = [];
  for (const value of values) ids.push(await submit({ ...settings, seed, [axis]: value }, card));
  return ids;
}
