/**
 * Entry point. views/ has one view per route (route.js), components/ the parts of views, client/ requests and job state.
 * A text is in the file that shows it; wording shared by several views is in text.js.
 */
import { readRecipe } from "./client/png-recipe.js";
import { settingsFromRecipe } from "./client/settings.js";
import { submit, submitEach } from "./client/submit.js";
import { useModels } from "./client/use-models.js";
import { useFileDrop } from "./components/use-file-drop.js";
import { useSettings } from "./components/use-settings.js";
import { html, render, useEffect, useMemo, useState } from "./html.js";
import { compareHref, imageHref, jobsHref, parseRoute } from "./route.js";
import { GalleryView } from "./views/gallery.js";
import { GenerateView } from "./views/generate.js";
import { ImageDialog } from "./views/image.js";
import { ModelView } from "./views/model.js";
import { ModelsView } from "./views/models.js";

const VIEWS = { generate: GenerateView, compare: GenerateView, gallery: GalleryView, models: ModelsView, model: ModelRoute };

function App() {
  const { cards, message } = useModels();
  const route = useRoute();
  const form = useSettings(cards);
  const [notice, setNotice] = useState("");
  const openPng = useMemo(() => (file) => loadPng(file, cards, form.adopt).then(setNotice), [cards]);
  const dragging = useFileDrop(openPng);
  const openImage = useMemo(() => (job, position) => (location.hash = imageHref({ job, position })), []);
  return html`
    <${VIEWS[route.view]} cards=${cards} message=${message} route=${route} form=${form} openImage=${openImage} openPng=${openPng} notice=${notice} />
    ${route.image && html`<${ImageRoute} key=${route.image.job} image=${route.image} route=${route} cards=${cards} />`}
    ${dragging && html`<p class="drop-overlay">Drop a PNG from Noisemill to load its settings.</p>`}`;
}

function useRoute() {
  const [route, setRoute] = useState(parseRoute(location.hash));
  useEffect(() => {
    const onHashChange = () => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", onHashChange);
    return () => removeEventListener("hashchange", onHashChange);
  }, []);
  useEffect(() => {
    markCurrentLink(route.view);
    scrollTo(0, 0);
  }, [route.view, route.model]);
  return route;
}

/** The navigation is in index.html, so that it is visible before scripts run. */
function markCurrentLink(view) {
  const fragment = { generate: "", model: "models" }[view] ?? view;
  for (const link of document.querySelectorAll("#navigation a")) {
    link.ariaCurrent = link.getAttribute("href") === `#${fragment}` ? "page" : null;
  }
}

function ModelRoute({ cards, message, route, form }) {
  const card = cards.find(({ name }) => name === route.model);
  if (card) return html`<${ModelView} card=${card} chooseModel=${form.chooseModel} />`;
  return html`<p class="empty" role="status">${message || `No model named ${route.model} is served.`} <a href="#models">All models</a></p>`;
}

function ImageRoute({ image, route, cards }) {
  const cardOf = (settings) => cards.find(({ name }) => name === settings.model);
  const openJobs = route.view === "generate" ? route.jobs : [];
  return html`<${ImageDialog} ...${image} cards=${cards}
    show=${(position) => location.replace(imageHref({ ...image, position }))}
    close=${() => location.hash.includes("picture=") && (location.hash = imageHref(null))}
    rerun=${async (settings) => (location.hash = jobsHref([await submit(settings, cardOf(settings)), ...openJobs]))}
    compare=${async (settings, axis, values) => (location.hash = compareHref(await submitEach(settings, axis, values, cardOf(settings))))} />`;
}

/** Loads the settings inside a PNG into the form; returns a notice about the result. */
async function loadPng(file, cards, adopt) {
  if (!file) return "";
  const recipe = await readRecipe(file);
  if (recipe === null) return `${file.name} contains no settings. Use the PNG of a single image; a grid has none.`;
  const card = cards.find(({ digest }) => digest === recipe.model_hash);
  if (!card) return `The model of ${file.name} is not served here (digest ${String(recipe.model_hash).slice(0, 12)}).`;
  adopt(settingsFromRecipe(recipe, card));
  if (parseRoute(location.hash).view !== "generate") location.hash = "";
  const start = recipe.image_sha256 ? " It started from an uploaded image, which the PNG does not contain, so the result will differ." : "";
  return `Loaded the settings of ${file.name}: index ${recipe.index} of seed ${recipe.seed}. Press Generate to make it again.${start}`;
}

render(html`<${App} />`, document.querySelector("main"));

// A link to #main would change the route.
document.querySelector("#skip-link").addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector("main").focus();
});
