import { html } from "../html.js";

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const plain = (number) => String(number);
const spread = (interval, say) => (interval ? html` <small>(${say(interval[0])} to ${say(interval[1])})</small>` : null);

/** What was measured: a key of the card's metrics, its name, how it is said, and what it means. */
const MEASURES = [
  ["accuracy", "As asked", percent, "of samples are taken for the class that was asked for, by a classifier that learnt from real images"],
  ["recognised", "Recognised", percent, "of samples are taken for some class, and surely"],
  ["precision", "Precision", percent, "of samples lie among the real images: none is far from all of them"],
  ["recall", "Recall", percent, "of real images lie among the samples: nothing is left out"],
];

/** A card's metrics in a table, each explained; asked for a class, and left to itself. */
export function Metrics({ metrics, name }) {
  const { conditional, unconditional, classifier, bits_per_dimension: bits } = metrics;
  const columns = [["asked for a class", conditional], ["any class", unconditional]].filter(([, column]) => column);
  if (columns.length === 0) return html`<p>Not measured yet: <code>noisemill evaluate ${name}</code> does it.</p>`;
  const rows = MEASURES.filter(([key]) => columns.some(([, column]) => key in column));
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Metrics"><table class="metrics">
    <thead><tr><td></td>${columns.map(([words]) => html`<th scope="col">${words}</th>`)}<th scope="col">real images</th></tr></thead>
    <tbody>
      ${rows.map(([key, words, say, meaning]) => html`<tr>
        <${Measure} words=${words} meaning=${meaning} />
        ${columns.map(([, column]) => html`<td>${key in column ? html`${say(column[key])}${spread(column[`${key}_interval`], say)}` : "–"}</td>`)}
        <td>${key === "accuracy" && classifier ? percent(classifier.accuracy) : "–"}</td>
      </tr>`)}
      <${Distance} columns=${columns} measure="frechet" words="Fréchet distance" meaning="between the features of samples and of real test images; 0 is no difference" />
      <${Distance} columns=${columns} measure="kernel" words="Kernel distance" meaning="the same by another rule, that a small number of images does not bend" />
      ${columns.some(([, column]) => "identical_to_training" in column) && html`<tr>
        <${Measure} words="Copies" meaning="samples that equal a training image" />
        ${columns.map(([, column]) => html`<td>${column.identical_to_training} of ${column.samples}</td>`)}<td>–</td></tr>`}
    </tbody>
  </table></div>
  ${bits && html`<p class="note">At most ${bits.bound} bits a dimension (± ${bits.standard_error}): what a real pixel costs, told by this model.</p>`}`;
}

const Measure = ({ words, meaning }) => html`<th scope="row">${words}<small>${meaning}</small></th>`;

/** Beside the samples' distance that of as many real images, which is not 0 either. */
function Distance({ columns, measure, words, meaning }) {
  const found = columns.map(([, column]) => column[measure]);
  if (!found.some(Boolean)) return null;
  const real = found.find(Boolean).as_many_training_images;
  const cell = (value) => html`<td>${value ? html`${plain(value.distance)}${spread(value.interval, plain)}` : "–"}</td>`;
  return html`<tr><${Measure} words=${words} meaning=${meaning} />${found.map(cell)}${cell(real)}</tr>`;
}
