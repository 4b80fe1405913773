import { asProblem, ended } from "../client/api.js";
import { ask, askEach } from "../client/use-settings.js";
import { Compare } from "./comparison.js";
import { Form } from "../components/request-form.js";
import { html, useEffect, useState } from "../html.js";
import { jobOf, useJob } from "../client/job.js";
import { Panel } from "../components/job-panel.js";
import { Recent } from "../components/recent-jobs.js";
import { settingsOf } from "../client/settings.js";
import { compareAt, jobsAt, read } from "../route.js";
import { SampleSheet, useSamples } from "../components/samples.js";

const MOST_PANELS = 8;

/** Where pictures are asked for and watched: the form, and beside it the jobs that the address names. */
export function Studio({ cards, trouble, route, asking, pick, open, notice }) {
  const [refusal, setRefusal] = useState(null);
  const comparing = route.view === "compare";
  const { settings, card } = asking;
  useEffect(() => setRefusal(null), [comparing]);
  const submit = async () => {
    setRefusal(null);
    try {
      const fragment = comparing
        ? compareAt(await askEach(settings, asking.vary.axis, asking.vary.values, card))
        : jobsAt([await ask(settings, card), ...shown()]);
      location.hash = fragment;
      showStage();
    } catch (error) {
      setRefusal(asProblem(error));
    }
  };
  return html`<div class="studio">
    <h1 class="quietly">${comparing ? "Compare" : "Make"}</h1>
    <div class="asking">
      ${trouble && html`<p id="models-status" role="status">${trouble}</p>`}
      ${card && html`<${Form} cards=${cards} settings=${settings} change=${asking.change} choose=${asking.choose}
        vary=${comparing ? asking.vary : null} setVary=${asking.setVary} refusal=${refusal} submit=${submit} open=${open}
        last=${jobOf(route.jobs[0] ?? "").view?.request.seed} />`}
    </div>
    <div class="stage" id="stage">
      <p class="notice" role="status">${notice}</p>
      ${route.jobs.length === 0 && html`<${Intro} comparing=${comparing} card=${card} />`}
      ${route.jobs.length > 0 && html`<${Begin} id=${route.jobs[0]} ready=${Boolean(card)} begin=${asking.begin} />`}
      ${route.jobs.length > 0 && comparing && html`<${Compare} key=${route.jobs.join()} ids=${route.jobs} cards=${cards} pick=${pick} begin=${card ? asking.beginVary : null} />`}
      ${!comparing && html`<div class="panels" data-alone=${route.jobs.length === 1}>
        ${route.jobs.map((id) => html`<${Panel} key=${id} id=${id} cards=${cards} alone=${route.jobs.length === 1} pick=${pick}
          close=${() => (location.hash = jobsAt(shown().filter((other) => other !== id)))} adopt=${(request) => asking.adopt(settingsOf(request))} />`)}
      </div>`}
    </div>
  </div>`;
}

/** The jobs on show; where there would be too many, those that have ended make room. */
function shown() {
  const { view, jobs } = read(location.hash);
  if (view !== "make") return [];
  const room = MOST_PANELS - 1;
  const going = (id) => jobOf(id).view !== null && !ended(jobOf(id).view);
  return jobs.length <= room ? jobs : [...jobs.filter(going), ...jobs.filter((id) => !going(id))].slice(0, room);
}

/** On a phone the form fills the screen. */
function showStage() {
  if (matchMedia("(max-width: 52rem)").matches) document.querySelector("#stage").scrollIntoView();
}

/** Hands the request of the job that the address names to the form, once it is known. */
function Begin({ id, ready, begin }) {
  const { view } = useJob(id);
  useEffect(() => {
    if (view !== null && ready) begin(view.request);
  }, [id, view === null, ready]);
  return null;
}

function Intro({ comparing, card }) {
  const sheet = useSamples(card);
  return html`<section class="intro">
    <p>${comparing
      ? html`The same noise, sampled in two ways or more, side by side. Choose what differs, and press <em>Compare</em>.`
      : html`Every picture begins as pure noise. Step by step, a network says what it takes the finished picture to be, and
        a little of the noise gives way. Press <em>Generate</em> and watch.`}</p>
    ${!comparing && card && html`<figure><${SampleSheet} sheet=${sheet} side=${480} alt=${`Samples of ${card.name}`} />
      ${sheet && html`<figcaption>What ${card.name} makes</figcaption>`}</figure>`}
    ${!comparing && html`<${Recent} />`}
  </section>`;
}
