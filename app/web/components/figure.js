import { figureUrl } from "../client/api.js";
import { html } from "../html.js";

/** What `noisemill figures` and training draw: what each shows, and whether it is a chart, which may take the page's colours. */
const FIGURES = {
  "real-and-generated.png": ["Real images beside generated ones", false],
  "schedule.png": ["The noise schedule: how much of the image and how much noise x_t holds, the noise that each timestep adds, and the ratio of signal to noise", true],
  "forward.png": ["A real image as noise is added to it, and the histogram of its pixels", false],
  "one-step.png": ["One look: what the network takes a noised image for, from a quarter of the noise to all of it", false],
  "reverse.png": ["x_t, and below it x̂₀, as samples come out of the noise", false],
  "process.gif": ["A hundred samples coming out of the noise", false],
  "intensity.png": ["Mean and spread of the pixels over the reverse process", true],
  "histograms.png": ["How often each intensity occurs in real and in generated images", true],
  "loss.png": ["The loss of every training step, and its running mean", true],
};

/** One of a card's figures with its caption; nothing where the model has none of that name. */
export function Figure({ card, name }) {
  if (!(name in card.figures)) return null;
  const [caption, chart] = FIGURES[name] ?? [name, false];
  const moves = name.endsWith(".gif") && matchMedia("(prefers-reduced-motion: reduce)").matches;
  return html`<figure data-chart=${chart}>
    ${moves ? html`<a href=${figureUrl(card, name)}>Show the animation</a>` : html`<img src=${figureUrl(card, name)} alt=${caption} loading="lazy" />`}
    <figcaption>${caption}</figcaption>
  </figure>`;
}

/** Figures that the page knows nothing of. */
export const otherFigures = ({ figures }) => Object.keys(figures).filter((name) => !(name in FIGURES) && name !== "samples.png");
