import { Figure, otherFigures } from "../components/figure.js";
import { html } from "../html.js";
import { Metrics } from "../components/metrics-table.js";
import { modelAt } from "../route.js";
import { SampleSheet, useSamples } from "../components/samples.js";
import { duration } from "../text.js";

const number = (value) => value.toLocaleString("en");

/** Every model that is served, by what it makes. */
export function Models({ cards }) {
  return html`<section class="models" aria-labelledby="models-title">
    <h1 id="models-title">Models</h1>
    <ul>${cards.map((card) => html`<${Entry} key=${card.name} card=${card} />`)}</ul>
  </section>`;
}

function Entry({ card }) {
  const sheet = useSamples(card);
  return html`<li><a href=${modelAt(card.name)}>
    <${SampleSheet} sheet=${sheet} side=${240} alt="" />
    <h2>${card.name}</h2>
    <p>${shape(card)}${card.data.source ? ` · learnt from ${card.data.source}` : ""}</p>
  </a></li>`;
}

const shape = ({ image_size: size, channels, classes }) =>
  [`${size} × ${size} pixels, ${channels === 1 ? "grey" : "colour"}`, classes.length > 0 && `${classes.length} classes`].filter(Boolean).join(" · ");

/** One model: what it makes, what it learnt from, how good it is, and how it works, in its own pictures. */
export function Model({ card, choose }) {
  const sheet = useSamples(card);
  const last = card.num_train_timesteps - 1;
  return html`<article class="model" aria-labelledby="model-title">
    <header>
      <div>
        <p class="note"><a href="#models">Models</a></p>
        <h1 id="model-title">${card.name}</h1>
        <p class="lede">${shape(card)}</p>
        <p><a class="button" href="#" onClick=${() => choose(card.name)}>Make pictures with it</a></p>
        <${CardFacts} card=${card} />
      </div>
      <${SampleSheet} sheet=${sheet} side=${480} alt=${`Samples of ${card.name}${card.classes.length ? ", the classes in turn" : ""}`} />
    </header>

    <section>
      <h2>What it was trained on</h2>
      <p>${dataWords(card)} ${trainingWords(card)}</p>
      <${Figure} card=${card} name="real-and-generated.png" />
      <${Figure} card=${card} name="loss.png" />
    </section>

    <section>
      <h2>How good it is</h2>
      <${Metrics} metrics=${card.metrics} name=${card.name} />
      <${Figure} card=${card} name="histograms.png" />
    </section>

    <section>
      <h2>What the noise schedule is</h2>
      <p>In training a real picture x₀ is mixed with noise: <span class="formula">x_t = √ᾱ_t · x₀ + √(1 − ᾱ_t) · noise</span>.
        The timestep t says how far that goes. At t = 0 there is next to nothing but the picture, at t = ${last} next to nothing
        but noise. The schedule ᾱ is the list of all ${card.num_train_timesteps} mixtures in between.</p>
      <${Figure} card=${card} name="schedule.png" />
      <${Figure} card=${card} name="forward.png" />
    </section>

    <section>
      <h2>What x̂₀ is</h2>
      <p>The network is shown x_t and t, and says which part of it is noise. What is left without that noise is
        x̂₀, “x-zero-hat”: what it takes the finished picture to be. Where there is little noise it is right at once. Where there is much,
        many pictures are possible, and x̂₀ is their average: a blur. It is what you watch on this page.</p>
      <${Figure} card=${card} name="one-step.png" />
    </section>

    <section>
      <h2>How a picture comes out of the noise</h2>
      <p>Sampling begins with noise alone, drawn from the seed. Each step asks for x̂₀ and goes a little of the way towards it,
        so the next look is at a little less noise, and x̂₀ grows sharper. A sampler is the rule of how far to go, and whether some noise is
        put back. This model's card recommends ${card.steps} steps of ${card.sampler}${card.null_class === null ? "" : ` at guidance ${card.guidance_scale}`}.</p>
      <${Figure} card=${card} name="reverse.png" />
      <${Figure} card=${card} name="intensity.png" />
      <${Figure} card=${card} name="process.gif" />
      ${otherFigures(card).map((name) => html`<${Figure} key=${name} card=${card} name=${name} />`)}
    </section>
  </article>`;
}

function CardFacts({ card }) {
  const rows = [
    ["Recommended", `${card.steps} steps of ${card.sampler}`],
    ...(card.null_class === null ? [] : [["Guidance", card.guidance_scale]]),
    ["Schedule", `${card.num_train_timesteps} timesteps`],
    ["Samplers", card.samplers.join(", ")],
    ["At most", `${card.max_count} images a job`],
    ...(card.created_at ? [["Made", card.created_at.slice(0, 10)]] : []),
    ["Digest", card.digest.slice(0, 12)],
    ["Runs as", card.build],
  ];
  return html`<dl class="facts">${rows.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>
    <p class="note"><a href=${`/models/${encodeURIComponent(card.name)}`}>The whole card as JSON</a></p>`;
}

function dataWords({ data, classes }) {
  if (!data.source) return "Its card does not say what it was trained on.";
  const images = data.images ? `${number(data.images)} images of ` : "";
  const kinds = classes.length > 0 ? `, in ${classes.length} classes: ${classes.slice(0, 20).join(", ")}${classes.length > 20 ? " …" : ""}` : "";
  return `${images}${data.source}${kinds}.`;
}

function trainingWords({ training }) {
  if (!training.steps) return "";
  const seen = training.images ? `, ${number(training.images)} images seen` : "";
  const time = training.seconds ? `, in ${duration(training.seconds)} on ${training.device === "cpu" ? "a CPU" : training.device}` : "";
  const loss = training.loss === undefined ? "" : ` Its loss came to ${training.loss}.`;
  return `${number(training.steps)} steps of training${seen}${time}.${loss}`;
}
