import { asProblem, fetchModels } from "./api.js";
import { useEffect, useState } from "../html.js";

const RETRY_MS = 3000;
const REFRESH_MS = 30_000; // a training may end, and its model appear

/** The cards of the models that are served, and why there are none: `{ cards, trouble }`. */
export function useCatalog() {
  const [catalog, set] = useState({ cards: [], trouble: "Asking which models are served…" });
  useEffect(() => {
    let timer = 0;
    const look = async () => {
      const next = await read();
      // Cards that say the same stay the same objects, so that nothing is drawn anew.
      set((old) => (JSON.stringify(old.cards) === JSON.stringify(next.cards ?? old.cards) ? { ...old, trouble: next.trouble } : next));
      timer = setTimeout(look, next.trouble ? RETRY_MS : REFRESH_MS);
    };
    look();
    addEventListener("online", look);
    return () => {
      clearTimeout(timer);
      removeEventListener("online", look);
    };
  }, []);
  return catalog;
}

/** Cards that were had stay on show while the service is away. */
async function read() {
  try {
    const cards = await fetchModels();
    if (cards.length > 0) return { cards, trouble: "" };
    return { trouble: "No model is served yet. Models appear here as soon as a worker has loaded them." };
  } catch (error) {
    const { title, detail } = asProblem(error);
    return { trouble: `${title}: ${detail} Trying again…` };
  }
}
