/**
 * Drawing for the benchmarks: panels with coordinates of their own, in which functions are shades and paths are lines.
 *
 * @module
 */

import { type Image, savePng } from "@tweedie/tweedie";

/** A colour, 0 to 255 each. */
export type Colour = readonly [red: number, green: number, blue: number];
/** A point in coordinates of a panel. */
export type Place = readonly [x: number, y: number];

/** A rectangle of a picture, with coordinates of its own: x from the left, y from below. */
export interface Panel {
  readonly image: Image;
  readonly corner: Place;
  readonly size: Place;
  readonly x: readonly [number, number];
  readonly y: readonly [number, number];
}

/** A white picture. */
export const blank = (width: number, height: number): Image => ({
  width,
  height,
  channels: 3,
  data: new Uint8Array(3 * width * height).fill(255),
});

/** Between two colours. */
export const mixed = (a: Colour, b: Colour, share: number): Colour =>
  [0, 1, 2].map((i) => a[i]! + (b[i]! - a[i]!) * share) as unknown as Colour;

/** Lays a colour over the panel's pixels, each as much as `cover` says of its column and its row from above. */
export function lay(
  { image, corner, size }: Panel,
  colour: Colour,
  cover: (column: number, row: number) => number,
): void {
  for (let row = 0; row < size[1]; row++) {
    for (let column = 0; column < size[0]; column++) {
      const share = cover(column, row);
      if (share <= 0) continue;
      const at = 3 * ((corner[1] + row) * image.width + corner[0] + column);
      colour.forEach((value, i) => {
        const under = image.data[at + i]!;
        image.data[at + i] = Math.round(under + (value - under) * Math.min(share, 1));
      });
    }
  }
}

/** From the panel's coordinates to pixels. */
export const pixel = ({ size, x, y }: Panel, [a, b]: Place): Place => [
  (a - x[0]) / (x[1] - x[0]) * size[0],
  (y[1] - b) / (y[1] - y[0]) * size[1],
];

/** From a pixel's middle to the panel's coordinates. */
export const point = ({ size, x, y }: Panel, column: number, row: number): Place => [
  x[0] + (column + 0.5) / size[0] * (x[1] - x[0]),
  y[1] - (row + 0.5) / size[1] * (y[1] - y[0]),
];

/** A function of the place as shades of grey, in bands, which compress well. */
export function shaded(panel: Panel, value: (place: Place) => number, bands = 8): void {
  const dark: Colour = [128, 136, 148];
  lay(panel, dark, (column, row) => Math.round(value(point(panel, column, row)) * bands) / bands);
}

/** A line through points. What it covers is found first and laid once, so that joints are no darker than the rest. */
export function drawn(panel: Panel, places: readonly Place[], colour: Colour, width = 1.3): void {
  const [columns, rows] = panel.size, cover = new Float32Array(columns * rows);
  const pixels = places.map((place) => pixel(panel, place)), reach = width / 2 + 1;
  pixels.slice(1).forEach(([bx, by], i) => {
    const [ax, ay] = pixels[i]!, [dx, dy] = [bx - ax, by - ay], length = dx * dx + dy * dy || 1;
    const [left, right] = [Math.min(ax, bx) - reach, Math.max(ax, bx) + reach];
    const [top, bottom] = [Math.min(ay, by) - reach, Math.max(ay, by) + reach];
    for (let row = Math.max(0, Math.floor(top)); row < Math.min(rows, bottom); row++) {
      for (
        let column = Math.max(0, Math.floor(left));
        column < Math.min(columns, right);
        column++
      ) {
        const [px, py] = [column + 0.5 - ax, row + 0.5 - ay];
        const along = Math.min(Math.max((px * dx + py * dy) / length, 0), 1);
        const off = Math.hypot(px - along * dx, py - along * dy);
        const at = row * columns + column;
        const share = Math.min(Math.max(width / 2 + 0.5 - off, 0), 1);
        cover[at] = Math.max(cover[at]!, Math.round(3 * share) / 3); // few shades, for a small file
      }
    }
  });
  lay(panel, colour, (column, row) => cover[row * columns + column]!);
}

/** Writes a picture. */
export async function saved(path: string, image: Image): Promise<void> {
  await savePng(path, { level: 9 })(ReadableStream.from([image]));
}

/** The colours of lines. */
export const black: Colour = [30, 30, 30],
  blue: Colour = [25, 90, 190],
  orange: Colour = [225, 95, 0];
