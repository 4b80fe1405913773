/**
 * Lets a few listen at a time, by turns.
 *
 * Browsers open six connections to a host, for all tabs together. Streams that held them all would leave none to ask
 * with, so a tab holds few, and whoever has listened for a while makes room for whoever waits. A hidden tab holds none.
 */
export class Turns {
  #free;
  #waiting = [];
  #milliseconds;

  constructor(most, milliseconds) {
    this.#free = most;
    this.#milliseconds = milliseconds;
  }

  /** Runs `listen(signal)` when its turn comes. Returns when it is over, or the turn is; throws what it throws. */
  async take(listen, signal) {
    await this.#enter(signal);
    const turn = new AbortController();
    const yields = () => (document.hidden || this.#waiting.length > 0) && turn.abort();
    const timer = setInterval(yields, this.#milliseconds);
    try {
      await listen(AbortSignal.any([signal, turn.signal]));
    } catch (error) {
      if (!turn.signal.aborted || signal.aborted) throw error;
    } finally {
      clearInterval(timer);
      this.#leave();
    }
  }

  async #enter(signal) {
    while (document.hidden) await once(document, "visibilitychange");
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((enter) => this.#waiting.push(enter));
    if (!signal.aborted) return;
    this.#leave();
    signal.throwIfAborted();
  }

  #leave() {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

const once = (target, type) => new Promise((resolve) => target.addEventListener(type, resolve, { once: true }));
