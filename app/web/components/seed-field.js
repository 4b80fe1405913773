import { html } from "../html.js";
import { Dice, Lock } from "./icons.js";
import { drawSeed } from "../client/settings.js";

/** The seed: what stands here is kept; empty, every request gets one of its own. `last` is the newest job's. */
export function SeedField({ seed, last, set, wrong }) {
  const kept = seed !== "";
  const title = kept ? "Kept. Press for a new seed each time" : "Keep the seed of the last pictures";
  return html`<div class="field wide">
    <label for="seed">Seed</label>
    <div class="with-buttons">
      <input id="seed" name="seed" value=${seed} inputmode="numeric" maxlength="20" placeholder="new each time" aria-describedby="seed-hint"
        aria-invalid=${wrong ? "true" : undefined} onInput=${({ target }) => set(target.value)} />
      <button id="dice" type="button" class="quiet icon" aria-label="Draw a seed" title="Draw a seed" onClick=${() => set(drawSeed())}><${Dice} /></button>
      <button id="lock" type="button" class="quiet icon" aria-label="Keep the seed" title=${title} aria-pressed=${String(kept)}
        onClick=${() => set(kept ? "" : last || drawSeed())}><${Lock} closed=${kept} /></button>
    </div>
    <small id="seed-hint">${kept ? "Kept: the same settings give the same pictures" : "Where the noise comes from; lock to keep it"}</small>
  </div>`;
}
