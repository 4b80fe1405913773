import { figureUrl } from "../client/api.js";
import { html } from "../html.js";
import { lossLabel } from "../text.js";

/** Figures drawn by training and `noisemill figures`: caption, and whether it is a chart, whose colors follow dark mode. */
const FIGURES = {
  "real-and-generated.png": ["Real images and generated images", false],
  "schedule.png": ["The noise schedule: the share of image and of noise in x_t, the noise added at each timestep, and the signal-to-noise ratio", true],
  "forward.png": ["A real image while noise is added, and the histogram of its pixels", false],
  "one-step.png": ["x̂₀ from a single evaluation of the network, for a quarter of the noise up to all of it", false],
  "reverse.png": ["x_t, and below it x̂₀, during sampling", false],
  "process.gif": ["A hundred samples during sampling", false],
  "intensity.png": ["Mean and standard deviation of the pixels during sampling", true],
  "histograms.png": ["Histogram of pixel intensities in real and in generated images", true],
  "loss.png": ["each training step and the running mean", true],
};

/** One of a card's figures with its caption; nothing if the model does not have it. */
export function Figure({ card, name }) {
  if (!(name in card.figures)) return null;
  const [text, isChart] = FIGURES[name] ?? [name, false];
  const caption = name === "loss.png" ? `${lossLabel(card.training)}: ${text}` : text;
  const needsClick = name.endsWith(".gif") && matchMedia("(prefers-reduced-motion: reduce)").matches;
  return html`<figure data-chart=${isChart}>
    ${needsClick ? html`<a href=${figureUrl(card, name)}>Show the animation</a>` : html`<img src=${figureUrl(card, name)} alt=${caption} loading="lazy" />`}
    <figcaption>${caption}</figcaption>
  </figure>`;
}

/** Names of figures without a place on the model's page. */
export const otherFigures = ({ figures }) => Object.keys(figures).filter((name) => !(name in FIGURES) && name !== "samples.png");
