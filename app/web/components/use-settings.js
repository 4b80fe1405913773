import { recommendedSettings, settingsFromJob } from "../client/settings.js";
import { useEffect, useState } from "../html.js";
import { initialValues } from "./comparison-axis.js";

/** The state of the request form: its settings, which start from a model's card, and the axis of a comparison. */
export function useSettings(cards) {
  const [settings, setSettings] = useState(null);
  const [comparison, setComparison] = useState({ axis: "sampler", values: [] });
  const [edited, setEdited] = useState(false);
  const cardOf = (name) => cards.find((card) => card.name === name);
  const reset = (card, overrides) => {
    setSettings(recommendedSettings(card, overrides));
    setComparison({ axis: "sampler", values: initialValues("sampler", card) });
  };
  useEffect(() => {
    if (cards.length > 0 && !cardOf(settings?.model)) reset(cards[0]);
  }, [cards]);
  return {
    settings,
    comparison,
    card: settings && cardOf(settings.model),
    setComparison: (axis, values) => setComparison({ axis, values }),
    change: (changes) => {
      setEdited(true);
      setSettings((old) => ({ ...old, ...changes }));
    },
    chooseModel: (name) => {
      setEdited(true);
      if (cardOf(name)) reset(cardOf(name), { count: settings.count, seed: settings.seed, frames: settings.frames });
    },
    /** Loads the settings of an earlier job or image, if its model is served. */
    adopt: (adopted) => {
      setEdited(true);
      if (cardOf(adopted.model)) reset(cardOf(adopted.model), adopted);
    },
    /** Loads the job or comparison in the address, unless the form was edited. The seed stays empty: new images. */
    prefill: (request) =>
      !edited && cardOf(request.model) && setSettings(recommendedSettings(cardOf(request.model), { ...settingsFromJob(request), seed: "" })),
    prefillComparison: (axis, values) => !edited && setComparison({ axis, values }),
  };
}
