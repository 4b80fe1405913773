/** The public API, as the page uses it. Seeds are text everywhere: they reach 2^64, where numbers round. */

/** An answer that says what is wrong (RFC 9457). */
export class Problem extends Error {
  constructor({ status, title, detail = "", errors = [], retryAfter = null }) {
    super(title);
    Object.assign(this, { status, title, detail, errors, retryAfter });
  }

  /** Whether asking again later, unchanged, may help. */
  get passing() {
    return this.status === 429 || this.status >= 500;
  }
}

export const fetchModels = async () => (await call("/models")).models;

export const fetchJob = (id, signal) => call(`/jobs/${encodeURIComponent(id)}`, { signal });

/** `{ jobs, next_cursor }`, the newest first. */
export const fetchJobs = (limit, cursor = null) =>
  call(`/jobs?limit=${limit}${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`);

/** `body` is JSON text, so that a large seed in it stays what was typed. */
export const generate = (body) =>
  call("/generate", { method: "POST", headers: { "Content-Type": "application/json" }, body });

export const cancel = (view) => call(view.urls.job, { method: "DELETE" });

export const ended = (view) => ["finished", "failed", "canceled"].includes(view.status);

export const figureUrl = ({ name, figures }, figure) =>
  `/models/${encodeURIComponent(name)}/figures/${encodeURIComponent(figure)}?${figures[figure].slice(0, 12)}`;

/** Throws Problem where the service refuses, TypeError where it cannot be reached. */
async function call(url, options) {
  const response = await fetch(url, options);
  const text = await response.text();
  if (!response.ok) throw problemOf(response, text);
  return text && parse(text);
}

/** Quotes seeds before parsing. Inside a JSON string the quotes would be escaped, so only the field matches. */
export const parse = (text) => JSON.parse(text.replace(/("seed"\s*:\s*)(\d+)/g, '$1"$2"'));

export function problemOf(response, text) {
  const retryAfter = response.headers.get("Retry-After");
  const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json");
  // What stands between may answer in words of its own, with a page that is not ours to show.
  const said = isProblem ? JSON.parse(text) : { title: `The service answered ${response.status}` };
  return new Problem({ ...said, status: response.status, retryAfter });
}

/** What went wrong, as a problem: fetch throws TypeError where nothing answers. */
export function asProblem(error) {
  if (error instanceof Problem) return error;
  if (!(error instanceof TypeError)) throw error;
  return new Problem({ title: "The service cannot be reached", detail: "Check the connection and try again." });
}
