import { parse } from "./api.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/** What reproduces a PNG that was made here, from its text chunk `noisemill`; null where it has none. */
export async function recipeOf(file) {
  const data = new DataView(await file.arrayBuffer());
  if (!SIGNATURE.every((byte, at) => at < data.byteLength && data.getUint8(at) === byte)) return null;
  for (const [type, bytes] of chunks(data)) {
    if (type !== "tEXt") continue;
    const [keyword, text] = new TextDecoder("latin1").decode(bytes).split("\0");
    if (keyword === "noisemill") return parsed(text);
  }
  return null;
}

function parsed(text) {
  try {
    const recipe = parse(text);
    return typeof recipe?.model_hash === "string" ? recipe : null;
  } catch {
    return null;
  }
}

/** `[type, bytes]` of each chunk: length, type, data and a checksum, one after another. */
function* chunks(data) {
  let at = SIGNATURE.length;
  while (at + 12 <= data.byteLength) {
    const length = data.getUint32(at);
    const type = String.fromCharCode(...[4, 5, 6, 7].map((offset) => data.getUint8(at + offset)));
    if (at + 12 + length > data.byteLength) return;
    yield [type, new Uint8Array(data.buffer, at + 8, length)];
    at += 12 + length;
  }
}
