import { Job } from "./job.js";

const MAX_IDLE_JOBS = 8;

const jobs = new Map(); // by id, least recently used first

/** The Job with this id, shared by all components. */
export function getJob(id) {
  const job = jobs.get(id) ?? new Job(id, () => onIdle(job));
  return touch(job);
}

/** Keeps the jobs that are shown and the MAX_IDLE_JOBS others used last. An evicted job is fetched again when opened. */
function onIdle(job) {
  if (jobs.get(job.id) === job) touch(job);
  const idle = [...jobs.values()].filter((each) => !each.hasSubscribers);
  for (const evicted of idle.slice(0, Math.max(0, idle.length - MAX_IDLE_JOBS))) {
    jobs.delete(evicted.id);
    evicted.close();
  }
}

/** Moves a job to the end: a Map iterates in insertion order. */
function touch(job) {
  jobs.delete(job.id);
  jobs.set(job.id, job);
  return job;
}
