import { ask, askEach, useAsking } from "./client/use-settings.js";
import { useCatalog } from "./client/use-models.js";
import { useDrop } from "./components/use-file-drop.js";
import { Gallery } from "./views/gallery.js";
import { html, render, useEffect, useMemo, useState } from "./html.js";
import { Model, Models } from "./views/model.js";
import { Picture } from "./views/image.js";
import { recipeOf } from "./client/png-recipe.js";
import { settingsOfRecipe } from "./client/settings.js";
import { compareAt, jobsAt, pictureAt, read } from "./route.js";
import { Studio } from "./views/generate.js";

/** What is on show follows the address, and the address what is done. */
function App() {
  const { cards, trouble } = useCatalog();
  const route = useRoute();
  const asking = useAsking(cards);
  const [notice, setNotice] = useState("");
  const open = useMemo(() => (file) => openPicture(file, cards, asking.adopt).then(setNotice), [cards]);
  const over = useDrop(open);
  const pick = useMemo(() => (job, position) => (location.hash = pictureAt({ job, position })), []);
  const view = { gallery: Gallery, models: Models, model: ModelPage }[route.view] ?? Studio;
  return html`
    <${view} cards=${cards} trouble=${trouble} route=${route} asking=${asking} pick=${pick} open=${open} notice=${notice} />
    ${route.picture && html`<${Over} key=${route.picture.job} picture=${route.picture} route=${route} cards=${cards} />`}
    ${over && html`<p class="drop">Let go: the settings of a PNG that was made here come back.</p>`}`;
}

function useRoute() {
  const [route, setRoute] = useState(read(location.hash));
  useEffect(() => {
    const follow = () => setRoute(read(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  useEffect(() => {
    mark(route.view);
    scrollTo(0, 0);
  }, [route.view, route.model]);
  return route;
}

/** Marks the present place among the links at the top, which are there before any script runs. */
function mark(view) {
  const place = { make: "", model: "models" }[view] ?? view;
  for (const link of document.querySelectorAll("#places a")) {
    link.ariaCurrent = link.getAttribute("href") === `#${place}` ? "page" : null;
  }
}

function ModelPage({ cards, trouble, route, asking }) {
  const card = cards.find(({ name }) => name === route.model);
  if (card) return html`<${Model} card=${card} choose=${asking.choose} />`;
  return html`<p class="empty" role="status">${trouble || `No model of the name ${route.model} is served.`} <a href="#models">All models</a></p>`;
}

/** One picture over what is on show. */
function Over({ picture, route, cards }) {
  const card = (name) => cards.find((each) => each.name === name);
  const others = route.view === "make" ? route.jobs : [];
  return html`<${Picture} ...${picture} cards=${cards}
    go=${(position) => location.replace(pictureAt({ ...picture, position }))}
    close=${() => location.hash.includes("picture=") && (location.hash = pictureAt(null))}
    again=${async (settings) => (location.hash = jobsAt([await ask(settings, card(settings.model)), ...others]))}
    compare=${async (settings, axis, values) => (location.hash = compareAt(await askEach(settings, axis, values, card(settings.model))))} />`;
}

/** Brings back the settings that a PNG carries; what came of it, in words. */
async function openPicture(file, cards, adopt) {
  if (!file) return "";
  const recipe = await recipeOf(file);
  if (recipe === null) return `${file.name} carries no settings. A single image's PNG does; a sheet of several does not.`;
  const card = cards.find(({ digest }) => digest === recipe.model_hash);
  if (!card) return `${file.name} was made by a model that is not served here (digest ${String(recipe.model_hash).slice(0, 12)}).`;
  adopt(settingsOfRecipe(recipe, card));
  if (read(location.hash).view !== "make") location.hash = "";
  const begun = recipe.image_sha256 ? " It began from a picture, which a PNG does not carry, so what comes will differ." : "";
  return `The settings of ${file.name} are back: index ${recipe.index} of seed ${recipe.seed}. Generate makes it again.${begun}`;
}

render(html`<${App} />`, document.querySelector("main"));

// Not by a fragment: that names what is on show.
document.querySelector("#skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector("main").focus();
});
