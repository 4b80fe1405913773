import { Facts } from "../components/facts.js";
import { Figure, otherFigures } from "../components/figure.js";
import { MetricsTable } from "../components/metrics-table.js";
import { SampleSheet, useSampleSheet } from "../components/samples.js";
import { html } from "../html.js";
import { formatDuration, lossLabel } from "../text.js";

const MAX_CLASS_NAMES = 20;

const number = (value) => value.toLocaleString("en");

export const shapeText = ({ image_size: size, channels, classes }) =>
  [`${size} × ${size} pixels, ${channels === 1 ? "grayscale" : "color"}`, classes.length > 0 && `${classes.length} classes`].filter(Boolean).join(" · ");

/** One model: samples, training data, quality, and an explanation of diffusion with the model's own figures. */
export function ModelView({ card, chooseModel }) {
  const sheet = useSampleSheet(card);
  const last = card.num_train_timesteps - 1;
  return html`<article class="model" aria-labelledby="model-title">
    <header>
      <div>
        <p class="note"><a href="#models">Models</a></p>
        <h1 id="model-title">${card.name}</h1>
        <p class="lead">${shapeText(card)}</p>
        <p><a class="button" href="#" onClick=${() => chooseModel(card.name)}>Generate with this model</a></p>
        <${Facts} facts=${cardFacts(card)} />
        <p class="note"><a href=${`/models/${encodeURIComponent(card.name)}`}>Model card as JSON</a></p>
      </div>
      <${SampleSheet} sheet=${sheet} maxSide=${480} alt=${`Samples of ${card.name}${card.classes.length ? ", one class after another" : ""}`} />
    </header>

    <section>
      <h2>Training</h2>
      <p>${dataText(card)} ${trainingText(card)}</p>
      ${card.training.loss !== undefined && html`<${Facts} facts=${[[lossLabel(card.training), card.training.loss]]} />`}
      <${Figure} card=${card} name="real-and-generated.png" />
      <${Figure} card=${card} name="loss.png" />
    </section>

    <section>
      <h2>Quality</h2>
      <${MetricsTable} metrics=${card.metrics} model=${card.name} />
      <${Figure} card=${card} name="histograms.png" />
    </section>

    <section>
      <h2>The noise schedule</h2>
      <p>In training a real image x₀ is mixed with noise: <span class="formula">x_t = √ᾱ_t · x₀ + √(1 − ᾱ_t) · noise</span>.
        The timestep t sets how much. At t = 0 the mixture is almost only image, at t = ${last} almost only noise.
        The schedule is the list of ᾱ for all ${card.num_train_timesteps} timesteps.</p>
      <${Figure} card=${card} name="schedule.png" />
      <${Figure} card=${card} name="forward.png" />
    </section>

    <section>
      <h2>The estimate x̂₀</h2>
      <p>The network gets x_t and t and predicts the noise in x_t. Removing the predicted noise gives x̂₀ (“x-zero-hat”), the network's estimate
        of the finished image. With little noise the estimate is accurate at once. With much noise many images are possible, and
        x̂₀ is their average: a blur. Watching a job on this page means watching x̂₀.</p>
      <${Figure} card=${card} name="one-step.png" />
    </section>

    <section>
      <h2>Sampling</h2>
      <p>Sampling starts from pure noise, which the seed determines. Each denoising step computes x̂₀ and moves a little towards it, so the
        next step starts with less noise and its x̂₀ is sharper. The sampler is the rule for how far to move and whether to add
        new noise. This model's card recommends ${card.steps} steps of ${card.sampler}${card.null_class === null ? "" : ` with guidance scale ${card.guidance_scale}`}.</p>
      <${Figure} card=${card} name="reverse.png" />
      <${Figure} card=${card} name="intensity.png" />
      <${Figure} card=${card} name="process.gif" />
      ${otherFigures(card).map((name) => html`<${Figure} key=${name} card=${card} name=${name} />`)}
    </section>
  </article>`;
}

function cardFacts(card) {
  return [
    ["Recommended", `${card.steps} steps of ${card.sampler}`],
    ...(card.null_class === null ? [] : [["Guidance scale", card.guidance_scale]]),
    ["Schedule", `${card.num_train_timesteps} timesteps`],
    ["Samplers", card.samplers.join(", ")],
    ["Limit", `${card.max_count} images per job`],
    ...(card.created_at ? [["Created", card.created_at.slice(0, 10)]] : []),
    ["Digest", card.digest.slice(0, 12)],
    ["Build", card.build],
  ];
}

function dataText({ data, classes }) {
  if (!data.source) return "The model card does not name the training data.";
  const images = data.images ? `${number(data.images)} images of ` : "";
  const names = classes.slice(0, MAX_CLASS_NAMES).join(", ") + (classes.length > MAX_CLASS_NAMES ? " …" : "");
  return `${images}${data.source}${classes.length > 0 ? `, in ${classes.length} classes: ${names}` : ""}.`;
}

function trainingText({ training }) {
  if (!training.steps) return "";
  const seen = training.images ? ` on ${number(training.images)} images in total` : "";
  const device = training.device === "cpu" ? "a CPU" : training.device;
  const time = training.seconds ? `, in ${formatDuration(training.seconds)} on ${device}` : "";
  return `Trained for ${number(training.steps)} steps${seen}${time}.`;
}
