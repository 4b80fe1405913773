/** The figures that `noisemill figures` and training draw, in the order in which they explain a model. */
const CAPTIONS = {
  "samples.png": "What it makes: one sample after another, the classes in turn",
  "real-and-generated.png": "Real images beside generated ones",
  "schedule.png": "The noise schedule: how much of the image and how much noise x_t holds",
  "forward.png": "Forward: a real image as noise is added, and its pixels' histogram",
  "one-step.png": "One look: what the network takes a noised image for, from a quarter of the noise to all of it",
  "reverse.png": "Reverse: x_t, and below it x̂₀, as samples come out of the noise",
  "process.gif": "A hundred samples coming out of the noise",
  "intensity.png": "Mean and spread of the pixels over the reverse process",
  "histograms.png": "How often each intensity occurs in real and in generated images",
  "loss.png": "The loss of every training step",
};

/** Shows what a model is: its card in a few words, and its figures. */
export class About {
  #root;

  constructor(root) {
    this.#root = root;
  }

  /** `card` may be undefined: no model of that name is served. */
  show(card) {
    this.#root.hidden = card === undefined;
    if (card === undefined) return;
    this.#root.querySelector("#about-title").textContent = card.name;
    this.#root.querySelector("#about-words").textContent = words(card);
    this.#root.querySelector("#about-card").href = `/models/${encodeURIComponent(card.name)}`;
    this.#root.querySelector("#figures").replaceChildren(...ordered(card.figures).map((name) => figure(card, name)));
  }
}

function words({ image_size: size, channels, classes, data, training, metrics }) {
  const said = [`${size} × ${size} pixels, ${channels === 1 ? "grey" : "RGB"}`];
  if (classes.length > 0) said.push(`${classes.length} classes`);
  if (data.source) said.push(`learnt from ${data.source}${data.images ? `, ${data.images.toLocaleString("en")} images` : ""}`);
  if (training.steps) said.push(`${training.steps.toLocaleString("en")} steps of training`);
  const { accuracy, samples } = metrics.conditional ?? {};
  if (accuracy !== undefined) said.push(`${(100 * accuracy).toFixed(1)} % of ${samples} samples are of the class asked for`);
  return `${said.join("; ")}.`;
}

const ordered = (figures) => {
  const known = Object.keys(CAPTIONS).filter((name) => name in figures);
  return [...known, ...Object.keys(figures).filter((name) => !known.includes(name))];
};

function figure(card, name) {
  const element = document.createElement("figure");
  const image = new Image();
  image.loading = "lazy";
  image.src = `/models/${encodeURIComponent(card.name)}/figures/${encodeURIComponent(name)}?${card.figures[name].slice(0, 12)}`;
  image.alt = "";
  const caption = document.createElement("figcaption");
  caption.textContent = CAPTIONS[name] ?? name;
  element.append(caption, image);
  return element;
}
