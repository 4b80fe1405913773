import { ended, fetchJob, parse, Problem } from "./api.js";
import { events } from "./events.js";
import { Film } from "./frames.js";
import { useEffect, useLayoutEffect, useState } from "../html.js";
import { Sheet } from "./grid-image.js";
import { Turns } from "./stream-slots.js";

export const SHOWN_IMAGES = 64; // a job's frames hold no more

const LOOK_MS = 1500;
const RETRY_MS = 1000;
const LINGER_MS = 2000; // for which a job goes on being followed when nobody watches, as between two views
const ENDINGS = ["done", "failed", "canceled"];

const turns = new Turns(2, 1000);
const MAX_IDLE_JOBS = 8;

const jobs = new Map(); // by id, least recently used first

/** The Job with this id, shared by all components. */
export function jobOf(id) {
  const job = jobs.get(id) ?? new Job(id, () => onIdle(job));
  return touch(job);
}

/** Keeps the jobs on show and the MAX_IDLE_JOBS others used last. An evicted job is fetched again when it is opened. */
function onIdle(job) {
  if (jobs.get(job.id) === job) touch(job);
  const idle = [...jobs.values()].filter((each) => !each.hasWatchers);
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

/** A Job, for a component that is drawn anew whenever something is heard of it. */
export function useJob(id) {
  const [, draw] = useState(0);
  useEffect(() => jobOf(id).watch(() => draw((count) => count + 1)), [id]);
  return jobOf(id);
}

/** Width and height of a job's images: as its model's card says, or where there is none as they come; 0 until it is known. */
export function useSize(job, card) {
  const [seen, see] = useState(0);
  useLayoutEffect(() => {
    if (card) return undefined;
    const look = () => see(job.picture(0, null)?.[3] ?? 0);
    look();
    return job.paint(look);
  }, [job, card]);
  return card?.image_size ?? seen;
}

/**
 * A job, followed while it is watched and until it has ended: its frames by listening, and its place, time and results by
 * asking. A stream that breaks is taken up after the last event heard, so no frame is lost and none comes twice.
 *
 * `view` is the JobView, `film` its frames, `problem` why there is none; `connected` whether the service answers.
 */
export class Job {
  view = null;
  problem = null;
  connected = true;
  film = new Film(() => this.#repaint());
  #sheet = null;
  #watchers = new Set();
  #painters = new Set();
  #following = null; // AbortController
  #lastId = "";
  #heardAll = false;

  #onIdle;

  /** `onIdle()` is called when the job has lost its last watcher. */
  constructor(id, onIdle = () => {}) {
    this.id = id;
    this.#onIdle = onIdle;
  }

  get hasWatchers() {
    return this.#watchers.size > 0;
  }

  /** Calls `listener()` whenever something is heard. Returns what ends that. */
  watch(listener) {
    this.#watchers.add(listener);
    this.#follow();
    return () => {
      this.#watchers.delete(listener);
      setTimeout(() => this.hasWatchers || this.#idle(), LINGER_MS);
    };
  }

  /** Calls `listener()` whenever a picture that was asked for can be drawn. */
  paint(listener) {
    this.#painters.add(listener);
    return () => this.#painters.delete(listener);
  }

  /** `[source, x, y, size]` of an image at a stop of the film, or at its end (null). As in Film, undefined or null. */
  picture(position, at) {
    const final = this.view?.status === "finished" && (at === null || at >= this.film.length - 1);
    const cut = final ? this.#results.cut(position) : null;
    if (cut !== null) return cut;
    const picture = this.film.picture(at ?? Infinity, position);
    if (!picture) return final ? null : picture;
    return [picture, 0, 0, picture.width];
  }

  /** A view that was had otherwise, as the answer to a cancel. */
  see(view) {
    this.view = view;
    this.#tell();
  }

  /** Stops following and frees the bitmaps. The job must not be used afterwards. */
  close() {
    this.#following?.abort();
    this.film.close();
    this.#sheet?.close();
  }

  #idle() {
    this.#following?.abort();
    this.#onIdle();
  }

  get #results() {
    this.#sheet ??= new Sheet(this.view.urls.grid, this.view.request.count, () => this.#repaint());
    return this.#sheet;
  }

  get #over() {
    return this.problem !== null || (this.#heardAll && this.view !== null && ended(this.view));
  }

  #follow() {
    if (this.#over || (this.#following !== null && !this.#following.signal.aborted)) return;
    const following = (this.#following = new AbortController());
    this.#look(following.signal);
    this.#listen(following.signal);
  }

  async #look(signal) {
    while (!signal.aborted && this.problem === null) {
      await this.#try(async () => this.#heard({ view: await fetchJob(this.id, signal) }), signal);
      if (this.view !== null && ended(this.view)) return;
      await pause(LOOK_MS);
    }
  }

  async #listen(signal) {
    while (!signal.aborted && !this.#heardAll && this.problem === null) {
      await this.#try(() => turns.take((turn) => this.#read(turn), signal), signal);
      await pause(100); // where the service ends streams at once, it is not asked without end
    }
    if (signal.aborted || this.problem !== null) return;
    await this.#try(async () => this.#heard({ view: await fetchJob(this.id, signal) }), signal);
  }

  /** A stream may end where the service is restarted; then it is read on. */
  async #read(signal) {
    for await (const { id, type, data } of events(`/jobs/${encodeURIComponent(this.id)}/events`, this.#lastId, signal)) {
      this.#lastId = id;
      if (type === "frame") this.film.add(parse(data));
      if (ENDINGS.includes(type)) this.#heardAll = true;
      this.#heard({});
      if (this.#heardAll) return;
    }
  }

  async #try(act, signal) {
    try {
      await act();
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && !error.passing) return this.#heard({ problem: error });
      this.connected = false;
      this.#tell();
      await pause(RETRY_MS);
    }
  }

  #heard(news) {
    Object.assign(this, news, { connected: true });
    this.#tell();
  }

  #tell() {
    for (const listener of this.#watchers) listener();
    this.#repaint();
  }

  #repaint() {
    for (const listener of this.#painters) listener();
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
