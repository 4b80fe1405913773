import { fetchModels, toProblem } from "./api.js";
import { useEffect, useState } from "../html.js";

const RETRY_MS = 3000;
const REFRESH_MS = 30_000; // a training may add a model at any time

/** `{ cards, message }`: the served models, and a message if there are none or the service cannot be reached. */
export function useModels() {
  const [models, setModels] = useState({ cards: [], message: "Loading the list of models…" });
  useEffect(() => {
    let timer = 0;
    const refresh = async () => {
      const next = await load();
      // Unchanged cards keep their identity, so that nothing is rendered again.
      setModels((old) => (next.cards && JSON.stringify(old.cards) !== JSON.stringify(next.cards) ? next : { ...old, message: next.message }));
      timer = setTimeout(refresh, next.message ? RETRY_MS : REFRESH_MS);
    };
    refresh();
    addEventListener("online", refresh);
    return () => {
      clearTimeout(timer);
      removeEventListener("online", refresh);
    };
  }, []);
  return models;
}

/** Omits `cards` if there are none or on an error, so that the last ones stay. */
async function load() {
  try {
    const cards = await fetchModels();
    if (cards.length > 0) return { cards, message: "" };
    return { message: "No model is served yet. Models appear here as soon as a worker has loaded them." };
  } catch (error) {
    const { title, detail } = toProblem(error);
    return { message: `${title}: ${detail} Trying again…` };
  }
}
