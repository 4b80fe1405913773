import { problemOf } from "./api.js";

const SILENCE_MS = 40_000; // the service says something every 15 s; a machine that slept hears nothing at all

/**
 * A job's server-sent events after `lastId`, as they come: `{ id, type, data }`.
 *
 * Read with fetch, for an EventSource cannot be told where to begin. Throws where the stream breaks or falls silent.
 */
export async function* events(url, lastId, signal) {
  const silence = new AbortController();
  const response = await fetch(url, {
    headers: lastId === "" ? {} : { "Last-Event-ID": lastId },
    signal: AbortSignal.any([signal, silence.signal]),
    cache: "no-store",
  });
  if (!response.ok) throw problemOf(response, await response.text());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let timer = 0;
  let rest = "";
  try {
    while (true) {
      timer = setTimeout(() => silence.abort(new TypeError("nothing heard")), SILENCE_MS);
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
      rest = blocks.pop();
      yield* blocks.map(parsed).filter(({ type }) => type !== "");
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {}); // it may have been aborted already
  }
}

/** One block of lines; a comment, which keeps the connection alive, has no type. */
function parsed(block) {
  const event = { id: "", type: "", data: "" };
  const names = { id: "id", event: "type", data: "data" };
  for (const line of block.split("\n")) {
    const [name, value] = halves(line);
    if (name in names) event[names[name]] += value;
  }
  return event;
}

function halves(line) {
  const at = line.indexOf(":");
  return [line.slice(0, at), line.slice(at + 1).trimStart()];
}
