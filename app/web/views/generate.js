import { hasEnded, toProblem } from "../client/api.js";
import { getJob } from "../client/job-cache.js";
import { settingsFromJob } from "../client/settings.js";
import { submit, submitEach } from "../client/submit.js";
import { useJob } from "../client/use-job.js";
import { JobPanel } from "../components/job-panel.js";
import { RecentJobs } from "../components/recent-jobs.js";
import { RequestForm } from "../components/request-form.js";
import { SampleSheet, useSampleSheet } from "../components/samples.js";
import { html, useEffect, useState } from "../html.js";
import { compareHref, jobsHref, parseRoute } from "../route.js";
import { Comparison } from "./comparison.js";

const MAX_PANELS = 8;

/** The request form, and beside it the jobs in the address: in panels, or (`#compare`) as a comparison. */
export function GenerateView({ cards, message, route, form, openImage, openPng, notice }) {
  const [problem, setProblem] = useState(null);
  const comparing = route.view === "compare";
  const { settings, card } = form;
  useEffect(() => setProblem(null), [comparing]);
  const onSubmit = async () => {
    setProblem(null);
    try {
      location.hash = comparing
        ? compareHref(await submitEach(settings, form.comparison.axis, form.comparison.values, card))
        : jobsHref([await submit(settings, card), ...remainingPanels()]);
      scrollToResults();
    } catch (error) {
      setProblem(toProblem(error));
    }
  };
  return html`<div class="generate-view">
    <h1 class="visually-hidden">${comparing ? "Compare" : "Generate"}</h1>
    <div class="request">
      ${message && html`<p id="models-status" role="status">${message}</p>`}
      ${card && html`<${RequestForm} cards=${cards} settings=${settings} change=${form.change} chooseModel=${form.chooseModel}
        comparison=${comparing ? form.comparison : null} setComparison=${form.setComparison} problem=${problem} submit=${onSubmit} openPng=${openPng}
        lastSeed=${route.jobs.length > 0 && getJob(route.jobs[0]).view?.request.seed} />`}
    </div>
    <div class="results" id="results">
      <p class="notice" role="status">${notice}</p>
      ${route.jobs.length === 0 && html`<${Introduction} comparing=${comparing} card=${card} />`}
      ${route.jobs.length > 0 && html`<${Prefill} id=${route.jobs[0]} ready=${Boolean(card)} prefill=${form.prefill} />`}
      ${route.jobs.length > 0 && comparing && html`<${Comparison} key=${route.jobs.join()} ids=${route.jobs} cards=${cards} openImage=${openImage} prefill=${card ? form.prefillComparison : null} />`}
      ${!comparing && html`<div class="job-panels" data-single=${route.jobs.length === 1}>
        ${route.jobs.map((id) => html`<${JobPanel} key=${id} id=${id} cards=${cards} single=${route.jobs.length === 1} openImage=${openImage}
          close=${() => (location.hash = jobsHref(openPanels().filter((other) => other !== id)))} adopt=${(request) => form.adopt(settingsFromJob(request))} />`)}
      </div>`}
    </div>
  </div>`;
}

function openPanels() {
  const { view, jobs } = parseRoute(location.hash);
  return view === "generate" ? jobs : [];
}

/** The open panels to keep when one is added: MAX_PANELS in total; jobs that have ended are dropped first. */
function remainingPanels() {
  const jobs = openPanels();
  if (jobs.length < MAX_PANELS) return jobs;
  const isActive = (id) => getJob(id).view !== null && !hasEnded(getJob(id).view);
  return [...jobs.filter(isActive), ...jobs.filter((id) => !isActive(id))].slice(0, MAX_PANELS - 1);
}

/** On a narrow screen the results are below the form. */
function scrollToResults() {
  if (matchMedia("(max-width: 52rem)").matches) document.querySelector("#results").scrollIntoView();
}

/** Fills the form from the first job in the address, once that job and the models are loaded. */
function Prefill({ id, ready, prefill }) {
  const { view } = useJob(id);
  useEffect(() => {
    if (view !== null && ready) prefill(view.request);
  }, [id, view === null, ready]);
  return null;
}

function Introduction({ comparing, card }) {
  const sheet = useSampleSheet(card);
  return html`<section class="introduction">
    <p>${comparing
      ? html`The same noise, sampled in two or more ways, side by side. Choose the setting to compare and press <em>Compare</em>.`
      : html`Every image starts as pure noise. At each denoising step a network estimates the finished image, and the sampler
        removes some of the noise. Press <em>Generate</em> and watch.`}</p>
    ${!comparing && card && html`<figure><${SampleSheet} sheet=${sheet} maxSide=${480} alt=${`Samples of ${card.name}`} />
      ${sheet && html`<figcaption>Samples of ${card.name}</figcaption>`}</figure>`}
    ${!comparing && html`<${RecentJobs} />`}
  </section>`;
}
