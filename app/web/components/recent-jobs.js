import { fetchJobs } from "../client/api.js";
import { html, useEffect, useState } from "../html.js";
import { jobsHref } from "../route.js";
import { countText } from "../text.js";
import { Thumbnail } from "./thumbnail.js";

const LIMIT = 8;

/** The newest jobs. Optional: an error leaves it empty. */
export function RecentJobs() {
  const [jobs, setJobs] = useState([]);
  useEffect(() => {
    let mounted = true;
    fetchJobs(LIMIT).then((page) => mounted && setJobs(page.jobs), () => {});
    return () => (mounted = false);
  }, []);
  if (jobs.length === 0) return null;
  return html`<section class="recent" aria-labelledby="recent-title">
    <h2 id="recent-title">Recent jobs</h2>
    <ul>${jobs.map((view) => html`<li key=${view.id}><a href=${jobsHref([view.id])}>
      <${Thumbnail} view=${view} />
      <small>${view.request.model} · ${view.status === "finished" ? countText(view.request.count) : view.status}</small>
    </a></li>`)}</ul>
    <a href="#gallery">All jobs in the gallery</a>
  </section>`;
}
