import { fetchRecent } from "./api.js";

const LIMIT = 12;

/** Links to the newest jobs, each with its first image. */
export class Recent {
  #root;

  constructor(root) {
    this.#root = root;
  }

  /** A convenience: where it cannot be had, the page does without. */
  async refresh() {
    const jobs = await fetchRecent(LIMIT).catch(() => []);
    this.#root.hidden = jobs.length === 0;
    this.#root.querySelector("#recent-jobs").replaceChildren(...jobs.map(item));
  }

  mark(id) {
    for (const link of this.#root.querySelectorAll("a")) {
      link.ariaCurrent = link.dataset.job === id ? "true" : null;
    }
  }
}

function item(view) {
  const link = document.createElement("a");
  link.href = `#job=${view.id}`;
  link.dataset.job = view.id;
  link.dataset.status = view.status;
  link.append(...picture(view), caption(view));
  const element = document.createElement("li");
  element.append(link);
  return element;
}

function picture({ urls }) {
  if (urls.images.length === 0) return [document.createElement("span")];
  const image = new Image();
  image.src = urls.images[0];
  image.alt = "";
  return [image];
}

function caption({ request, status }) {
  const element = document.createElement("small");
  element.textContent = status === "finished" ? `${request.model} × ${request.count}` : status;
  return element;
}
