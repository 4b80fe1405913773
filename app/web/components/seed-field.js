import { randomSeed } from "../client/settings.js";
import { html } from "../html.js";
import { Dice, Lock } from "./icons.js";

/** The seed. An empty field gives each request a random one. `last` is the seed of the newest job. */
export function SeedField({ seed, last, set, invalid }) {
  const locked = seed !== "";
  const lockTitle = locked ? "Locked. Press to use a new seed each time" : "Lock the seed of the last images";
  return html`<div class="field full-width">
    <label for="seed">Seed</label>
    <div class="with-buttons">
      <input id="seed" name="seed" value=${seed} inputmode="numeric" maxlength="20" placeholder="random" aria-describedby="seed-hint"
        aria-invalid=${invalid ? "true" : undefined} onInput=${({ target }) => set(target.value)} />
      <button id="random-seed" type="button" class="text-button icon-button" aria-label="Random seed" title="Random seed" onClick=${() => set(randomSeed())}><${Dice} /></button>
      <button id="lock-seed" type="button" class="text-button icon-button" aria-label="Lock the seed" title=${lockTitle} aria-pressed=${String(locked)}
        onClick=${() => set(locked ? "" : last || randomSeed())}><${Lock} closed=${locked} /></button>
    </div>
    <small id="seed-hint">${locked ? "Locked: same settings, same images" : "Sets the noise. Lock it to repeat images"}</small>
  </div>`;
}
