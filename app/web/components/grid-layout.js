/**
 * Layout of `count` images of `size` pixels in `width` × `height` CSS pixels: as square as possible, all enlarged by the
 * same integer factor in device pixels. If `width` is too narrow for that, there are fewer columns.
 */
export function gridLayout(count, size, width, height, density = devicePixelRatio) {
  const gap = Math.max(1, Math.round((count > 64 ? 1 : 2) * density));
  const square = Math.ceil(Math.sqrt(count));
  const scaleFor = (length, images) => Math.floor((Math.floor(length * density) - (images - 1) * gap) / (images * size));
  const scale = Math.max(1, Math.min(scaleFor(width, square), Math.max(1, scaleFor(height, Math.ceil(count / square)))));
  const maxColumns = Math.max(1, Math.floor((width * density + gap) / (size * scale + gap)));
  const columns = Math.min(square, maxColumns);
  return { columns, rows: Math.ceil(count / columns), side: size * scale, gap, density };
}
