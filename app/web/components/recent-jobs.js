import { fetchJobs } from "../client/api.js";
import { html, useEffect, useState } from "../html.js";
import { jobsAt } from "../route.js";
import { Thumbnail } from "./thumbnail.js";
import { imagesWords } from "../text.js";

const LIMIT = 8;

/** The newest jobs, where nothing else is on show. A convenience: where it cannot be had, the page does without. */
export function Recent() {
  const [jobs, set] = useState([]);
  useEffect(() => {
    let wanted = true;
    fetchJobs(LIMIT).then((page) => wanted && set(page.jobs), () => {});
    return () => (wanted = false);
  }, []);
  if (jobs.length === 0) return null;
  return html`<section class="recent" aria-labelledby="recent-title">
    <h2 id="recent-title">Made before</h2>
    <ul>${jobs.map((view) => html`<li key=${view.id}><a href=${jobsAt([view.id])}>
      <${Thumbnail} view=${view} />
      <small>${view.request.model} · ${view.status === "finished" ? imagesWords(view.request.count) : view.status}</small>
    </a></li>`)}</ul>
    <a href="#gallery">All in the gallery</a>
  </section>`;
}
