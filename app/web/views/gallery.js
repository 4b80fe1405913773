import { fetchJobs, hasEnded, toProblem } from "../client/api.js";
import { ErrorMessage } from "../components/error-message.js";
import { Thumbnail } from "../components/thumbnail.js";
import { Component, html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { compareHref, jobsHref } from "../route.js";
import { countText, formatAge } from "../text.js";

const PAGE_SIZE = 60;
const REFRESH_MS = 3000;

/** All stored jobs, newest first, loaded page by page while scrolling. */
export function GalleryView() {
  const [{ jobs, cursor, problem }, setState] = useState({ jobs: [], cursor: undefined, problem: null });
  const [selected, setSelected] = useState([]);
  const loadMore = async () => {
    try {
      const page = await fetchJobs(PAGE_SIZE, cursor ?? null);
      setState((old) => ({ jobs: merge(old.jobs, page.jobs), cursor: page.next_cursor, problem: null }));
    } catch (error) {
      setState((old) => ({ ...old, problem: toProblem(error) }));
    }
  };
  useRefresh(jobs, (fresh) => setState((old) => ({ ...old, jobs: merge(fresh, old.jobs) })));
  const toggle = useRef((id) => setSelected((ids) => (ids.includes(id) ? ids.filter((other) => other !== id) : [...ids, id]))).current;
  return html`<section class="gallery" aria-labelledby="gallery-title">
    <h1 id="gallery-title">Gallery</h1>
    <p class="lead">All jobs that the service stores, newest first.</p>
    ${cursor === null && jobs.length === 0 && html`<p class="empty">No jobs yet. <a href="#">Generate images</a> and they appear here.</p>`}
    <ul class="jobs">${jobs.map((view) => html`<${JobCard} key=${view.id} view=${view} selected=${selected.includes(view.id)} toggle=${toggle} />`)}</ul>
    ${problem && html`<${ErrorMessage} problem=${problem} />`}
    ${cursor !== null && html`<${LoadMore} key=${cursor} load=${loadMore} />`}
    ${selected.length > 1 && html`<p class="selection-bar"><a class="button" href=${compareHref(selected)}>Compare ${selected.length} jobs</a>
      <button type="button" class="text-button" onClick=${() => setSelected([])}>Clear selection</button></p>`}
  </section>`;
}

/** Pages overlap if jobs were added between two requests; views in `first` replace those in `second`. */
function merge(first, second) {
  const ids = new Set(first.map(({ id }) => id));
  return [...first, ...second.filter(({ id }) => !ids.has(id))];
}

/** Polls the newest jobs while a listed job is queued or running. */
function useRefresh(jobs, onRefresh) {
  const active = jobs.some((view) => !hasEnded(view));
  useEffect(() => {
    if (!active) return undefined;
    const timer = setInterval(() => fetchJobs(PAGE_SIZE).then((page) => onRefresh(page.jobs), () => {}), REFRESH_MS);
    return () => clearInterval(timer);
  }, [active]);
}

/** Loads the next page when scrolled into view, or on click. */
function LoadMore({ load }) {
  const button = useRef();
  useLayoutEffect(() => {
    const observer = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && load(), { rootMargin: "800px" });
    observer.observe(button.current);
    return () => observer.disconnect();
  }, []);
  return html`<button ref=${button} type="button" class="text-button load-more" onClick=${load}>Load more</button>`;
}

/** One job; rendered again only if its own view has changed, since the page may show thousands. */
class JobCard extends Component {
  shouldComponentUpdate({ view, selected }) {
    const old = this.props.view;
    return selected !== this.props.selected || (view !== old && JSON.stringify(view) !== JSON.stringify(old));
  }

  render({ view, selected, toggle }) {
    const { request } = view;
    return html`<li data-status=${view.status}>
      <a href=${jobsHref([view.id])}>
        <${Thumbnail} view=${view} />
        <strong>${request.model}</strong>
        <small>${view.status === "finished" ? countText(request.count) : view.status} · ${formatAge(view.created_at)}</small>
        <small>${request.steps} steps · ${request.sampler}</small>
      </a>
      <label class="select-job"><input type="checkbox" checked=${selected} onChange=${() => toggle(view.id)} aria-label=${`Compare job ${view.id.slice(0, 6)}`} /> compare</label>
    </li>`;
  }
}
