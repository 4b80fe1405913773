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

export const fetchJob = (id) => call(`/jobs/${encodeURIComponent(id)}`);

export const fetchRecent = async (limit) => (await call(`/jobs?limit=${limit}`)).jobs;

/** `body` is JSON text, so that a large seed in it stays what was typed. */
export const generate = (body) =>
  call("/generate", { method: "POST", headers: { "Content-Type": "application/json" }, body });

export const cancel = (view) => call(view.urls.job, { method: "DELETE" });

export const ended = (view) => ["finished", "failed", "canceled"].includes(view.status);

/** Throws Problem where the service refuses, TypeError where it cannot be reached. */
async function call(url, options) {
  const response = await fetch(url, options);
  const text = await response.text();
  if (!response.ok) throw problemOf(response, text);
  return text && parse(text);
}

/** Quotes seeds before parsing. Inside a JSON string the quotes would be escaped, so only the field matches. */
const parse = (text) => JSON.parse(text.replace(/("seed"\s*:\s*)(\d+)/g, '$1"$2"'));

function problemOf(response, text) {
  const retryAfter = response.headers.get("Retry-After");
  const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json");
  // What stands between may answer in words of its own, with a page that is not ours to show.
  const said = isProblem ? JSON.parse(text) : { title: `The service answered ${response.status}` };
  return new Problem({ ...said, status: response.status, retryAfter });
}
