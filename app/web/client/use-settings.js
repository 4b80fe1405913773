import { generate } from "./api.js";
import { useEffect, useState } from "../html.js";
import { jobOf } from "./job.js";
import { body, drawSeed, recommended, settingsOf } from "./settings.js";
import { firstValues } from "../components/comparison-axis.js";

/** What is asked for next: the form's settings, fitted to a model's card, and what a comparison differs in. */
export function useAsking(cards) {
  const [settings, set] = useState(null);
  const [vary, setVary] = useState({ axis: "sampler", values: [] });
  const [touched, touch] = useState(false);
  const cardOf = (name) => cards.find((card) => card.name === name);
  const fit = (card, kept) => {
    set(recommended(card, kept));
    setVary({ axis: "sampler", values: firstValues("sampler", card) });
  };
  useEffect(() => {
    if (cards.length > 0 && !cardOf(settings?.model)) fit(cards[0]);
  }, [cards]);
  return {
    settings,
    vary,
    card: settings && cardOf(settings.model),
    setVary: (axis, values) => setVary({ axis, values }),
    change: (news) => {
      touch(true);
      set((old) => ({ ...old, ...news }));
    },
    choose: (model) => {
      touch(true);
      if (cardOf(model)) fit(cardOf(model), { count: settings.count, seed: settings.seed, frames: settings.frames });
    },
    /** Takes over what was asked for before; false where that model is not served. */
    adopt: (adopted) => {
      touch(true);
      if (!cardOf(adopted.model)) return false;
      fit(cardOf(adopted.model), adopted);
      return true;
    },
    /** The same for a job that the address names, unless something was chosen already; asking again brings other pictures. */
    beginVary: (axis, values) => !touched && setVary({ axis, values }),
    begin: (request) =>
      !touched && cardOf(request.model) && set(recommended(cardOf(request.model), { ...settingsOf(request), seed: "" })),
  };
}

/** Queues one job; its id. Throws as `generate` does. */
export async function ask(settings, card) {
  const view = await generate(body(settings, card));
  jobOf(view.id).see(view);
  return view.id;
}

/** Queues a job for each value of one setting, all else the same, the seed too; their ids. */
export async function askEach(settings, axis, values, card) {
  const seed = settings.seed || drawSeed();
  const ids = [];
  for (const value of values) ids.push(await ask({ ...settings, seed, [axis]: value }, card));
  return ids;
}
