import { fetchJob, hasEnded, parseJson, Problem } from "./api.js";
import { readEvents } from "./events.js";
import { Frames } from "./frames.js";
import { GridImage } from "./grid-image.js";
import { StreamSlots } from "./stream-slots.js";

export const FRAME_IMAGES = 64; // frames show a job's first images only

const POLL_MS = 1500;
const RETRY_MS = 1000;
const STREAM_RETRY_MS = 100; // pause between streams, in case the service ends each one at once
const LINGER_MS = 2000; // a job without subscribers is followed for this long, e.g. while the view changes
const TERMINAL_EVENTS = ["done", "failed", "canceled"];

const streamSlots = new StreamSlots(2, 1000);

/**
 * The client-side state of a job. While it has subscribers and has not ended, its events are streamed (frames) and its
 * view is polled (queue position, ETA, results). A broken stream resumes after the last event received, so that each
 * frame arrives exactly once.
 *
 * `view` is the JobView or null, `problem` the reason if it cannot be loaded, `connected` whether the service responds.
 */
export class Job {
  view = null;
  problem = null;
  connected = true;
  frames = new Frames(() => this.#repaint());
  #grid = null;
  #subscribers = new Set();
  #painters = new Set();
  #following = null; // AbortController
  #lastEventId = "";
  #streamEnded = false;
  #onIdle;

  /** `onIdle()` is called when the job has lost its last subscriber. */
  constructor(id, onIdle = () => {}) {
    this.id = id;
    this.#onIdle = onIdle;
  }

  get hasSubscribers() {
    return this.#subscribers.size > 0;
  }

  /** Calls `listener()` after each change. Returns a function that unsubscribes. */
  subscribe(listener) {
    this.#subscribers.add(listener);
    this.#follow();
    return () => {
      this.#subscribers.delete(listener);
      setTimeout(() => this.hasSubscribers || this.#idle(), LINGER_MS);
    };
  }

  /** Calls `listener()` when the images have changed. Returns a function that unsubscribes. */
  onPaint(listener) {
    this.#painters.add(listener);
    return () => this.#painters.delete(listener);
  }

  /** `[bitmap, x, y, size]` of an image at a frame, or of the result (`frame` null). Undefined or null: see Frames.bitmap. */
  image(position, frame) {
    const final = this.view?.status === "finished" && (frame === null || frame >= this.frames.length - 1);
    const crop = final ? this.#results.crop(position) : null;
    if (crop !== null) return crop;
    const bitmap = this.frames.bitmap(frame ?? Infinity, position);
    if (!bitmap) return final ? null : bitmap;
    return [bitmap, 0, 0, bitmap.width];
  }

  /** Sets the view from another response, e.g. to POST or DELETE. */
  setView(view) {
    this.#update({ view });
  }

  /** Stops following and frees the bitmaps. The job must not be used afterwards. */
  close() {
    this.#following?.abort();
    this.frames.close();
    this.#grid?.close();
  }

  get #results() {
    this.#grid ??= new GridImage(this.view.urls.grid, this.view.request.count, () => this.#repaint());
    return this.#grid;
  }

  get #complete() {
    return this.problem !== null || (this.#streamEnded && this.view !== null && hasEnded(this.view));
  }

  #idle() {
    this.#following?.abort();
    this.#onIdle();
  }

  #follow() {
    if (this.#complete || (this.#following !== null && !this.#following.signal.aborted)) return;
    this.#following = new AbortController();
    this.#poll(this.#following.signal);
    this.#stream(this.#following.signal);
  }

  async #poll(signal) {
    while (!signal.aborted && this.problem === null) {
      await this.#attempt(() => this.#fetchView(signal), signal);
      if (this.view !== null && hasEnded(this.view)) return;
      await sleep(POLL_MS);
    }
  }

  async #stream(signal) {
    while (!signal.aborted && !this.#streamEnded && this.problem === null) {
      await this.#attempt(() => streamSlots.run((slot) => this.#readEvents(slot), signal), signal);
      await sleep(STREAM_RETRY_MS);
    }
    if (signal.aborted || this.problem !== null) return;
    await this.#attempt(() => this.#fetchView(signal), signal);
  }

  async #fetchView(signal) {
    this.#update({ view: await fetchJob(this.id, signal), connected: true });
  }

  /** Returns at a terminal event, or if the stream ends without one (the service restarts). */
  async #readEvents(signal) {
    const url = `/jobs/${encodeURIComponent(this.id)}/events`;
    for await (const { id, type, data } of readEvents(url, this.#lastEventId, signal)) {
      this.#lastEventId = id;
      if (type === "frame") this.frames.add(parseJson(data));
      this.#streamEnded = TERMINAL_EVENTS.includes(type);
      this.#update({ connected: true });
      if (this.#streamEnded) return;
    }
  }

  async #attempt(action, signal) {
    try {
      await action();
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && !error.retryable) return this.#update({ problem: error, connected: true });
      this.#update({ connected: false });
      await sleep(RETRY_MS);
    }
  }

  #update(changes) {
    Object.assign(this, changes);
    for (const listener of this.#subscribers) listener();
    this.#repaint();
  }

  #repaint() {
    for (const listener of this.#painters) listener();
  }
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
