/**
 * How images lie in a room of `width` × `height` CSS pixels: as square as can be, in device pixels, each a whole multiple
 * of its own pixels, so that all of these look alike. Where the room is too narrow for that there are fewer columns.
 */
export function tiling(count, size, width, height, density = devicePixelRatio) {
  const gap = Math.max(1, Math.round((count > 64 ? 1 : 2) * density));
  const square = Math.ceil(Math.sqrt(count));
  const fits = (room, tiles) => Math.floor((Math.floor(room * density) - (tiles - 1) * gap) / (tiles * size));
  const scale = Math.max(1, Math.min(fits(width, square), Math.max(1, fits(height, Math.ceil(count / square)))));
  const most = Math.max(1, Math.floor((width * density + gap) / (size * scale + gap)));
  const columns = Math.min(square, most);
  return { columns, rows: Math.ceil(count / columns), side: size * scale, gap, density };
}
