import { html, useEffect, useState } from "../html.js";
import { Pause, Play } from "./icons.js";

const FRAME_MS = 110;

/**
 * Goes back and forth through `length` stops. `at` is the one on show, null the end, which is followed as it moves on;
 * `caption(stop)` says what is seen there.
 */
export function Timeline({ length, at, go, caption }) {
  const [playing, setPlaying] = useState(false);
  const last = length - 1;
  const stop = at ?? last;
  useEffect(() => {
    if (!playing) return undefined;
    if (at === null) return setPlaying(false);
    const timer = setTimeout(() => go(at + 1 >= last ? null : at + 1), FRAME_MS);
    return () => clearTimeout(timer);
  }, [playing, at, last]);
  if (length < 2) return html`<p class="caption" data-caption>${length === 1 ? caption(0) : ""}</p>`;
  const toggle = () => {
    if (!playing && at === null) go(0);
    setPlaying(!playing);
  };
  const input = (event) => {
    setPlaying(false);
    const chosen = Number(event.target.value);
    go(chosen >= last ? null : chosen);
  };
  return html`<div class="timeline">
    <button type="button" class="quiet icon" aria-label=${playing ? "Pause" : "Play the process"} title=${playing ? "Pause" : "Play the process"} onClick=${toggle}>
      ${playing ? html`<${Pause} />` : html`<${Play} />`}</button>
    <input type="range" class="scrubber" min="0" max=${last} value=${stop} aria-label="Step shown" aria-valuetext=${caption(stop)} onInput=${input} />
    <p class="caption" data-caption>${caption(stop)}</p>
  </div>`;
}
