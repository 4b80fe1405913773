import { html, useEffect, useState } from "../html.js";
import { Pause, Play } from "./icons.js";

const FRAME_MS = 110;

/**
 * A slider over `length` frames with a play button. `frame` is the index of the shown frame; null follows the newest one.
 * `caption(index)` describes a frame.
 */
export function Timeline({ length, frame, setFrame, caption }) {
  const [playing, setPlaying] = useState(false);
  const last = length - 1;
  const index = frame ?? last;
  useEffect(() => {
    if (!playing) return undefined;
    if (frame === null) return setPlaying(false);
    const timer = setTimeout(() => setFrame(frame + 1 >= last ? null : frame + 1), FRAME_MS);
    return () => clearTimeout(timer);
  }, [playing, frame, last]);
  if (length < 2) return html`<p class="caption" data-caption>${length === 1 ? caption(0) : ""}</p>`;
  const toggle = () => {
    if (!playing && frame === null) setFrame(0);
    setPlaying(!playing);
  };
  const onInput = (event) => {
    setPlaying(false);
    const chosen = Number(event.target.value);
    setFrame(chosen >= last ? null : chosen);
  };
  const name = playing ? "Pause" : "Play the denoising steps";
  return html`<div class="timeline">
    <button type="button" class="text-button icon-button" aria-label=${name} title=${name} onClick=${toggle}>
      ${playing ? html`<${Pause} />` : html`<${Play} />`}</button>
    <input type="range" class="scrubber" min="0" max=${last} value=${index} aria-label="Denoising step" aria-valuetext=${caption(index)} onInput=${onInput} />
    <p class="caption" data-caption>${caption(index)}</p>
  </div>`;
}
