import { About } from "./about.js";
import { fetchModels, generate } from "./api.js";
import { Form } from "./form.js";
import { JobPanel } from "./job.js";
import { Recent } from "./recent.js";

const RETRY_MS = 3000;

let cards = [];

const intro = document.querySelector("#intro");
const about = new About(document.querySelector("#about"));
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

/** The fragment names what is on show, a job or a model, so that a reload or a shared link shows it again. */
const inAddress = (what) => new URLSearchParams(location.hash.slice(1)).get(what);

function show() {
  const id = inAddress("job");
  showModel();
  if (id === null) panel.close();
  else panel.show(id);
  refreshRecent();
}

function showModel() {
  const card = cards.find(({ name }) => name === inAddress("model"));
  intro.hidden = card !== undefined || inAddress("job") !== null;
  if (card !== undefined) form.choose(card.name);
  about.show(card);
}

async function refreshRecent() {
  await recent.refresh();
  recent.mark(inAddress("job"));
}

/** Asks until a worker has published a model. */
async function loadModels() {
  try {
    cards = await fetchModels();
    if (cards.length > 0) {
      form.offer(cards);
      return showModel();
    }
    form.wait("No model is served yet. Models appear here as soon as a worker has loaded them.");
  } catch (error) {
    form.wait(`The models cannot be had: ${error.detail || error.message}. Trying again…`);
  }
  setTimeout(loadModels, RETRY_MS);
}

addEventListener("hashchange", show);
await loadModels();
show();
