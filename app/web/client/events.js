import { problemFrom } from "./api.js";

const SILENCE_TIMEOUT_MS = 40_000; // the service sends a comment every 15 s; after the computer slept no data may arrive

/**
 * Yields a job's server-sent events after `lastId` as `{ id, type, data }`.
 *
 * Uses fetch because EventSource cannot set Last-Event-ID. Throws if the stream breaks or stays silent.
 */
export async function* readEvents(url, lastId, signal) {
  const silence = new AbortController();
  const response = await fetch(url, {
    headers: lastId === "" ? {} : { "Last-Event-ID": lastId },
    signal: AbortSignal.any([signal, silence.signal]),
    cache: "no-store",
  });
  if (!response.ok) throw problemFrom(response, await response.text());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let timer = 0;
  let buffer = "";
  try {
    while (true) {
      timer = setTimeout(() => silence.abort(new TypeError("event stream timed out")), SILENCE_TIMEOUT_MS);
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      const blocks = (buffer + value.replaceAll("\r", "")).split("\n\n");
      buffer = blocks.pop();
      yield* blocks.map(parseEvent).filter(({ type }) => type !== "");
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {}); // the stream may already be aborted
  }
}

/** Parses one block of lines. A comment (keep-alive) has no type. */
function parseEvent(block) {
  const event = { id: "", type: "", data: "" };
  const properties = { id: "id", event: "type", data: "data" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const field = line.slice(0, colon);
    if (field in properties) event[properties[field]] += line.slice(colon + 1).trimStart();
  }
  return event;
}
