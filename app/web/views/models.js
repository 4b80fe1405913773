import { SampleSheet, useSampleSheet } from "../components/samples.js";
import { html } from "../html.js";
import { modelHref } from "../route.js";
import { shapeText } from "./model.js";

/** All served models with their samples. */
export function ModelsView({ cards }) {
  return html`<section class="models" aria-labelledby="models-title">
    <h1 id="models-title">Models</h1>
    <ul>${cards.map((card) => html`<${ModelCard} key=${card.name} card=${card} />`)}</ul>
  </section>`;
}

function ModelCard({ card }) {
  const sheet = useSampleSheet(card);
  return html`<li><a href=${modelHref(card.name)}>
    <${SampleSheet} sheet=${sheet} maxSide=${240} alt="" />
    <h2>${card.name}</h2>
    <p>${shapeText(card)}${card.data.source ? ` · trained on ${card.data.source}` : ""}</p>
  </a></li>`;
}
