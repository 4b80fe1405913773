import { ended, fetchJob, Problem } from "./api.js";

const POLL_MS = 2000;
const ENDINGS = ["done", "failed", "canceled"];

/**
 * Follows one job until it has ended: its events by listening, and its place, time and results by asking.
 *
 * The watcher hears `view(JobView)`, `replay()` before a stream starts from its first event, `frame(Frame)`,
 * `connected(boolean)`, and `missing(Problem)` where there is no such job.
 */
export class Follower {
  #id;
  #watcher;
  #source = null;
  #heardAll = false; // the terminal event has come
  #turn = 0;
  #timer = 0;

  constructor(id, watcher) {
    this.#id = id;
    this.#watcher = watcher;
    this.#look();
  }

  close() {
    this.#turn += 1;
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  async #look() {
    clearTimeout(this.#timer);
    this.#turn += 1;
    const turn = this.#turn;
    const answer = await fetchJob(this.#id).catch((error) => error);
    if (turn !== this.#turn) return; // closed, or overtaken by a later look
    if (answer instanceof Problem && !answer.passing) return this.#leave(answer);
    this.#watcher.connected(!(answer instanceof Error));
    if (!(answer instanceof Error)) this.#see(answer);
    else this.#lookLater();
  }

  #see(view) {
    this.#watcher.view(view);
    if (!this.#heardAll) this.#listen(view.urls.events);
    if (!this.#heardAll || !ended(view)) this.#lookLater();
  }

  #lookLater() {
    this.#timer = setTimeout(() => this.#look(), POLL_MS);
  }

  #leave(problem) {
    this.close();
    this.#watcher.missing(problem);
  }

  /** An EventSource resumes by itself after a lost connection, but not after an HTTP error: then it is made anew. */
  #listen(url) {
    if (this.#source !== null && this.#source.readyState !== EventSource.CLOSED) return;
    this.#watcher.replay();
    const source = (this.#source = new EventSource(url));
    source.addEventListener("open", () => this.#watcher.connected(true));
    source.addEventListener("error", () => this.#watcher.connected(false));
    source.addEventListener("started", () => this.#look());
    source.addEventListener("frame", (event) => this.#watcher.frame(JSON.parse(event.data)));
    for (const ending of ENDINGS) source.addEventListener(ending, () => this.#hearTheEnd());
  }

  /** Closed by hand, since an EventSource takes the end of a stream for a lost connection. */
  #hearTheEnd() {
    this.#heardAll = true;
    this.#source.close();
    this.#look();
  }
}
