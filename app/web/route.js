/**
 * What is on show, as the address names it, so that a reload or a shared link shows it again: `#job=…` (several, side by
 * side), `#compare=…,…`, `#gallery`, `#models`, `#model=…`; and in any, `picture=job/k`.
 */
export function read(fragment) {
  const fields = new URLSearchParams(fragment.slice(1));
  const [pictured = "", position = ""] = fields.get("picture")?.split("/") ?? [];
  return {
    view: ["compare", "gallery", "models", "model"].find((name) => fields.has(name)) ?? "make",
    jobs: fields.has("compare") ? fields.get("compare").split(",").filter(Boolean) : fields.getAll("job"),
    model: fields.get("model") ?? "",
    picture: /^\d+$/.test(position) ? { job: pictured, position: Number(position) } : null,
  };
}

/** The address of jobs shown side by side. */
export const jobsAt = (ids) => `#${ids.map((id) => `job=${encodeURIComponent(id)}`).join("&")}`;

export const compareAt = (ids) => `#compare=${ids.map(encodeURIComponent).join(",")}`;

export const modelAt = (name) => `#model=${encodeURIComponent(name)}`;

/** The present address with one picture over it, or none. */
export function pictureAt(picture) {
  const rest = location.hash.slice(1).split("&").filter((field) => field && !field.startsWith("picture="));
  if (picture !== null) rest.push(`picture=${encodeURIComponent(picture.job)}/${picture.position}`);
  return `#${rest.join("&")}`;
}
