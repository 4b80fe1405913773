/**
 * The fragment of the URL is the state of the page, so that reload, links and the back button work: `#job=…` (repeated for
 * several jobs), `#compare=…,…`, `#gallery`, `#models`, `#model=…`; each with `picture=job/k` for one image in a dialog.
 */
export function parseRoute(fragment) {
  const fields = new URLSearchParams(fragment.slice(1));
  const [imageJob = "", position = ""] = fields.get("picture")?.split("/") ?? [];
  return {
    view: ["compare", "gallery", "models", "model"].find((name) => fields.has(name)) ?? "generate",
    jobs: fields.has("compare") ? fields.get("compare").split(",").filter(Boolean) : fields.getAll("job"),
    model: fields.get("model") ?? "",
    image: /^\d+$/.test(position) ? { job: imageJob, position: Number(position) } : null,
  };
}

export const jobsHref = (ids) => `#${ids.map((id) => `job=${encodeURIComponent(id)}`).join("&")}`;

export const compareHref = (ids) => `#compare=${ids.map(encodeURIComponent).join(",")}`;

export const modelHref = (name) => `#model=${encodeURIComponent(name)}`;

/** The current address with an image's dialog open, or without (null). */
export function imageHref(image) {
  const fields = location.hash.slice(1).split("&").filter((field) => field && !field.startsWith("picture="));
  if (image !== null) fields.push(`picture=${encodeURIComponent(image.job)}/${image.position}`);
  return `#${fields.join("&")}`;
}
