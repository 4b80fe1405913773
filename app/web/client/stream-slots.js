/**
 * Limits the number of open event streams per tab and rotates them.
 *
 * Over HTTP/1.1 a browser opens six connections per host, shared by all tabs, and requests must find a free one. A tab
 * therefore holds few streams. A stream that has been open for `milliseconds` is closed if another one waits for a slot;
 * a hidden tab holds none.
 */
export class StreamSlots {
  #free;
  #waiting = [];
  #milliseconds;

  constructor(slots, milliseconds) {
    this.#free = slots;
    this.#milliseconds = milliseconds;
  }

  /** Runs `read(signal)` in a slot. Returns when it has ended or the slot was reclaimed; throws what it throws. */
  async run(read, signal) {
    await this.#acquire(signal);
    const slot = new AbortController();
    const reclaim = () => (document.hidden || this.#waiting.length > 0) && slot.abort();
    const timer = setInterval(reclaim, this.#milliseconds);
    try {
      await read(AbortSignal.any([signal, slot.signal]));
    } catch (error) {
      if (!slot.signal.aborted || signal.aborted) throw error;
    } finally {
      clearInterval(timer);
      this.#release();
    }
  }

  async #acquire(signal) {
    while (document.hidden) await once(document, "visibilitychange");
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    if (!signal.aborted) return;
    this.#release();
    signal.throwIfAborted();
  }

  #release() {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

const once = (target, type) => new Promise((resolve) => target.addEventListener(type, resolve, { once: true }));
