import { fetchModels, generate } from "./api.js";
import { Form } from "./form.js";
import { JobPanel } from "./job.js";
import { Recent } from "./recent.js";

const RETRY_MS = 3000;

let cards = [];

const intro = document.querySelector("#intro");
const recent = new Recent(document.querySelector("#recent"));
const panel = new JobPanel(document.querySelector("#job"), {
  cardOf: (name) => cards.find((card) => card.name === name),
  onKnown: (view) => form.adopt(view.request),
  onEnded: refreshRecent,
});
const form = new Form(document.querySelector("#ask"), async (body) => {
  const view = await generate(body);
  location.hash = `job=${view.id}`;
});

/** The fragment names the job on show, so that a reload or a shared link shows it again. */
const jobInAddress = () => new URLSearchParams(location.hash.slice(1)).get("job");

function showJob() {
  const id = jobInAddress();
  intro.hidden = id !== null;
  if (id === null) panel.close();
  else panel.show(id);
  refreshRecent();
}

async function refreshRecent() {
  await recent.refresh();
  recent.mark(jobInAddress());
}

/** Asks until a worker has published a model. */
async function loadModels() {
  try {
    cards = await fetchModels();
    if (cards.length > 0) return form.offer(cards);
    form.wait("No model is served yet. Models appear here as soon as a worker has loaded them.");
  } catch (error) {
    form.wait(`The models cannot be had: ${error.detail || error.message}. Trying again…`);
  }
  setTimeout(loadModels, RETRY_MS);
}

addEventListener("hashchange", showJob);
await loadModels();
showJob();
