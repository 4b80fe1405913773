import { html } from "../html.js";

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const interval = (ends, format) => (ends ? html` <small>(${format(ends[0])} to ${format(ends[1])})</small>` : null);

/** Key in the card's metrics, name, explanation. */
const SHARES = [
  ["accuracy", "Class accuracy", "of samples get the requested class from a classifier trained on real images"],
  ["recognised", "Recognised", "of samples get some class from that classifier with high confidence"],
  ["precision", "Precision", "of samples lie close to real images"],
  ["recall", "Recall", "of real images lie close to samples"],
];

/** A card's metrics, each with an explanation. Columns: samples with a class, without one, and real images. */
export function MetricsTable({ metrics, model }) {
  const { conditional, unconditional, classifier, bits_per_dimension: bits } = metrics;
  const columns = [["with a class", conditional], ["any class", unconditional]].filter(([, column]) => column);
  if (columns.length === 0) return html`<p>Not measured yet. Run <code>noisemill evaluate ${model}</code>.</p>`;
  const shares = SHARES.filter(([key]) => columns.some(([, column]) => key in column));
  return html`<div class="table-scroll" tabindex="0" role="group" aria-label="Metrics"><table class="metrics">
    <thead><tr><td></td>${columns.map(([title]) => html`<th scope="col">${title}</th>`)}<th scope="col">real images</th></tr></thead>
    <tbody>
      ${shares.map(([key, name, meaning]) => html`<tr>
        <${Metric} name=${name} meaning=${meaning} />
        ${columns.map(([, column]) => html`<td>${key in column ? html`${percent(column[key])}${interval(column[`${key}_interval`], percent)}` : "–"}</td>`)}
        <td>${key === "accuracy" && classifier ? percent(classifier.accuracy) : "–"}</td>
      </tr>`)}
      <${DistanceRow} columns=${columns} metric="frechet" name="Fréchet distance" meaning="between the features of samples and of real test images; 0 means no difference" />
      <${DistanceRow} columns=${columns} metric="kernel" name="Kernel distance" meaning="the same with an estimate that is unbiased for few images" />
      ${columns.some(([, column]) => "identical_to_training" in column) && html`<tr>
        <${Metric} name="Copies" meaning="samples identical to a training image" />
        ${columns.map(([, column]) => html`<td>${column.identical_to_training} of ${column.samples}</td>`)}<td>–</td></tr>`}
    </tbody>
  </table></div>
  ${bits && html`<p class="note">Negative log-likelihood of real test images: at most ${bits.bound} bits per dimension (± ${bits.standard_error}).</p>`}`;
}

const Metric = ({ name, meaning }) => html`<th scope="row">${name}<small>${meaning}</small></th>`;

/** The baseline is the distance of as many real training images, which is not 0 either. */
function DistanceRow({ columns, metric, name, meaning }) {
  const measured = columns.map(([, column]) => column[metric]);
  if (!measured.some(Boolean)) return null;
  const baseline = measured.find(Boolean).as_many_training_images;
  const cell = (value) => html`<td>${value ? html`${value.distance}${interval(value.interval, String)}` : "–"}</td>`;
  return html`<tr><${Metric} name=${name} meaning=${meaning} />${measured.map(cell)}${cell(baseline)}</tr>`;
}
