import { parseJson } from "./api.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/** The recipe in a PNG's text chunk `noisemill`, or null if it has none. */
export async function readRecipe(file) {
  const data = new DataView(await file.arrayBuffer());
  if (!SIGNATURE.every((byte, k) => k < data.byteLength && data.getUint8(k) === byte)) return null;
  for (const [type, bytes] of chunks(data)) {
    if (type !== "tEXt") continue;
    const [keyword, text] = new TextDecoder("latin1").decode(bytes).split("\0");
    if (keyword === "noisemill") return parseRecipe(text);
  }
  return null;
}

function parseRecipe(text) {
  try {
    const recipe = parseJson(text);
    return typeof recipe?.model_hash === "string" ? recipe : null;
  } catch {
    return null;
  }
}

/** Yields `[type, bytes]` of each chunk; a chunk is length (4 bytes), type (4), data and CRC (4). */
function* chunks(data) {
  let offset = SIGNATURE.length;
  while (offset + 12 <= data.byteLength) {
    const length = data.getUint32(offset);
    const type = String.fromCharCode(...[4, 5, 6, 7].map((k) => data.getUint8(offset + k)));
    if (offset + 12 + length > data.byteLength) return;
    yield [type, new Uint8Array(data.buffer, offset + 8, length)];
    offset += 12 + length;
  }
}
