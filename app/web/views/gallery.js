import { asProblem, ended, fetchJobs } from "../client/api.js";
import { Component, html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { Refusal } from "../components/error-message.js";
import { compareAt, jobsAt } from "../route.js";
import { Thumbnail } from "../components/thumbnail.js";
import { ago, imagesWords } from "../text.js";

const PAGE = 60;
const REFRESH_MS = 3000;

/** Every job that is kept, the newest first; more come as the end of the list comes near. */
export function Gallery() {
  const [{ jobs, cursor, problem }, set] = useState({ jobs: [], cursor: undefined, problem: null });
  const [chosen, choose] = useState([]);
  const more = async () => {
    try {
      const page = await fetchJobs(PAGE, cursor ?? null);
      set((old) => ({ jobs: merged(old.jobs, page.jobs), cursor: page.next_cursor, problem: null }));
    } catch (error) {
      set((old) => ({ ...old, problem: asProblem(error) }));
    }
  };
  useRefresh(jobs, (fresh) => set((old) => ({ ...old, jobs: merged(fresh, old.jobs) })));
  const toggle = useRef((id) => choose((ids) => (ids.includes(id) ? ids.filter((other) => other !== id) : [...ids, id]))).current;
  return html`<section class="gallery" aria-labelledby="gallery-title">
    <h1 id="gallery-title">Gallery</h1>
    <p class="lede">Every job of the last days. They stay until their time is over.</p>
    ${cursor === null && jobs.length === 0 && html`<p class="empty">Nothing has been made yet. <a href="#">Make something</a>, and it is kept here.</p>`}
    <ul class="jobs">${jobs.map((view) => html`<${Entry} key=${view.id} view=${view} chosen=${chosen.includes(view.id)} toggle=${toggle} />`)}</ul>
    ${problem && html`<${Refusal} problem=${problem} />`}
    ${cursor !== null && html`<${More} key=${cursor} load=${more} />`}
    ${chosen.length > 1 && html`<p class="bar"><a class="button" href=${compareAt(chosen)}>Compare ${chosen.length} jobs</a>
      <button type="button" class="quiet" onClick=${() => choose([])}>Clear</button></p>`}
  </section>`;
}

/** Pages overlap where jobs are made meanwhile; what was heard last counts. */
function merged(first, second) {
  const known = new Set(first.map(({ id }) => id));
  return [...first, ...second.filter(({ id }) => !known.has(id))];
}

/** Looks at the newest jobs again while any of those on show goes on. */
function useRefresh(jobs, hear) {
  const going = jobs.some((view) => !ended(view));
  useEffect(() => {
    if (!going) return undefined;
    const timer = setInterval(() => fetchJobs(PAGE).then((page) => hear(page.jobs), () => {}), REFRESH_MS);
    return () => clearInterval(timer);
  }, [going]);
}

/** Loads by itself when it comes into sight, and by hand. */
function More({ load }) {
  const button = useRef();
  useLayoutEffect(() => {
    const observer = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && load(), { rootMargin: "800px" });
    observer.observe(button.current);
    return () => observer.disconnect();
  }, []);
  return html`<button ref=${button} type="button" class="quiet more-jobs" onClick=${load}>More</button>`;
}

/** One job; drawn anew only where its own view has changed, for there may be a thousand. */
class Entry extends Component {
  shouldComponentUpdate({ view, chosen }) {
    const old = this.props.view;
    return chosen !== this.props.chosen || (view !== old && JSON.stringify(view) !== JSON.stringify(old));
  }

  render({ view, chosen, toggle }) {
    const { request } = view;
    return html`<li data-status=${view.status}>
      <a href=${jobsAt([view.id])}>
        <${Thumbnail} view=${view} />
        <strong>${request.model}</strong>
        <small>${view.status === "finished" ? imagesWords(request.count) : view.status} · ${ago(view.created_at)}</small>
        <small>${request.steps} × ${request.sampler}</small>
      </a>
      <label class="choose"><input type="checkbox" checked=${chosen} onChange=${() => toggle(view.id)} aria-label=${`Compare job ${view.id.slice(0, 6)}`} /> compare</label>
    </li>`;
  }
}
