/** HTTP client for the public API. Seeds are strings, since they go up to 2^64 - 1, which a number cannot represent. */

/** An error response (RFC 9457). */
export class Problem extends Error {
  constructor({ status, title, detail = "", errors = [], retryAfter = null }) {
    super(title);
    Object.assign(this, { status, title, detail, errors, retryAfter });
  }

  /** Whether the same request may succeed later. */
  get retryable() {
    return this.status === 429 || this.status >= 500;
  }
}

export const fetchModels = async () => (await request("/models")).models;

export const fetchJob = (id, signal) => request(`/jobs/${encodeURIComponent(id)}`, { signal });

/** `{ jobs, next_cursor }`, newest first. */
export const fetchJobs = (limit, cursor = null) =>
  request(`/jobs?limit=${limit}${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`);

/** `body` is JSON text, so that a large seed keeps all its digits. */
export const generate = (body) =>
  request("/generate", { method: "POST", headers: { "Content-Type": "application/json" }, body });

export const cancel = (view) => request(view.urls.job, { method: "DELETE" });

export const hasEnded = (view) => ["finished", "failed", "canceled"].includes(view.status);

export const figureUrl = ({ name, figures }, figure) =>
  `/models/${encodeURIComponent(name)}/figures/${encodeURIComponent(figure)}?${figures[figure].slice(0, 12)}`;

/** Throws Problem for an error response, TypeError if the service cannot be reached. */
async function request(url, options) {
  const response = await fetch(url, options);
  const text = await response.text();
  if (!response.ok) throw problemFrom(response, text);
  return text && parseJson(text);
}

/** Quotes seeds before parsing. Inside a JSON string the quotes would be escaped, so only the field matches. */
export const parseJson = (text) => JSON.parse(text.replace(/("seed"\s*:\s*)(\d+)/g, '$1"$2"'));

export function problemFrom(response, text) {
  const retryAfter = response.headers.get("Retry-After");
  const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json");
  // A proxy may answer with an HTML page of its own, which is not shown.
  const fields = isProblem ? JSON.parse(text) : { title: `The service answered with status ${response.status}` };
  return new Problem({ ...fields, status: response.status, retryAfter });
}

/** The Problem for any error of a request; other errors are thrown again. */
export function toProblem(error) {
  if (error instanceof Problem) return error;
  if (!(error instanceof TypeError)) throw error;
  return new Problem({ title: "The service cannot be reached", detail: "Check the connection and try again." });
}
