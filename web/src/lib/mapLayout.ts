// The arithmetic of the map: coordinates, categories, filters and the spacing of thumbnails.
import { SCALE } from "./palette";

/** The range of the plot's coordinates that the points fill: −0.95 to 0.95. */
const EXTENT = 1.9;

export interface Normalized {
  xs: Float32Array;
  ys: Float32Array;
  /** Map coordinates (as the server gives them) to plot coordinates. */
  toPlot: (x: number, y: number) => [number, number];
}

/** Center pairs of coordinates and scale them evenly, so that they fill the plot. */
export function normalize(pairs: Float32Array): Normalized {
  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < pairs.length; i += 2) {
    left = Math.min(left, pairs[i]);
    right = Math.max(right, pairs[i]);
    bottom = Math.min(bottom, pairs[i + 1]);
    top = Math.max(top, pairs[i + 1]);
  }
  const scale = EXTENT / Math.max(right - left, top - bottom, 1e-9);
  const [centerX, centerY] = pairs.length ? [(left + right) / 2, (bottom + top) / 2] : [0, 0];
  const xs = new Float32Array(pairs.length / 2);
  const ys = new Float32Array(pairs.length / 2);
  for (let i = 0; i < xs.length; i++) {
    xs[i] = (pairs[2 * i] - centerX) * scale;
    ys[i] = (pairs[2 * i + 1] - centerY) * scale;
  }
  return { xs, ys, toPlot: (x, y) => [(x - centerX) * scale, (y - centerY) * scale] };
}

/** How many specimens have each level. */
export function countLevels(codes: ArrayLike<number>, levels: number): number[] {
  const counts = new Array<number>(levels).fill(0);
  for (let i = 0; i < codes.length; i++) counts[codes[i]] += 1;
  return counts;
}

export type Range = [least: number, most: number];

/** The least and the greatest number; 0 to 1 where all are missing. */
export function rangeOf(values: ArrayLike<number>): Range {
  let [least, most] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) {
    if (values[i] < least) least = values[i];
    if (values[i] > most) most = values[i];
  }
  return least <= most ? [least, most] : [0, 1];
}

/** The step of the color scale for a number; the step after the last one where it is missing. */
export function stepOf(value: number, [least, most]: Range): number {
  if (Number.isNaN(value)) return SCALE.length;
  const step = Math.floor(((value - least) / (most - least || 1)) * SCALE.length);
  return Math.min(SCALE.length - 1, step);
}

/** The indices of the points whose level is not hidden. */
export function shownPoints(codes: ArrayLike<number>, hidden: boolean[]): number[] {
  const shown: number[] = [];
  for (let i = 0; i < codes.length; i++) if (!hidden[codes[i]]) shown.push(i);
  return shown;
}

/** The hidden levels after a click on one: it alone changes, or it alone is shown (and back). */
export function toggleLevel(
  hidden: ReadonlySet<string>,
  levels: string[],
  level: string,
  alone: boolean,
): Set<string> {
  if (!alone) return toggle(hidden, level);
  const others = levels.filter((other) => other !== level);
  const isAlone = hidden.size === others.length && !hidden.has(level);
  return new Set(isAlone ? [] : others);
}

/** A copy of a set, with one element added or, if it was there, removed. */
export function toggle<T>(set: ReadonlySet<T>, element: T): Set<T> {
  const copy = new Set(set);
  if (!copy.delete(element)) copy.add(element);
  return copy;
}

export type Point = [x: number, y: number];

/** Accepts places on the screen for thumbnails, so that they overlap only a little. */
export class Spacing {
  private readonly occupied = new Map<string, Point>();
  private readonly distance: number;

  constructor(
    private readonly cell: number,
    side: number,
  ) {
    this.distance = 0.85 * side;
  }

  /** Take a place, unless another one is too near. */
  take(x: number, y: number): boolean {
    const [column, row] = [Math.floor(x / this.cell), Math.floor(y / this.cell)];
    for (let a = -1; a <= 1; a++) {
      for (let b = -1; b <= 1; b++) {
        const other = this.occupied.get(`${column + a},${row + b}`);
        if (!other) continue;
        const [dx, dy] = [Math.abs(other[0] - x), Math.abs(other[1] - y)];
        if (dx < this.distance && dy < this.distance) return false;
      }
    }
    this.occupied.set(`${column},${row}`, [x, y]);
    return true;
  }
}

/** Plot coordinates to the screen, from the leftmost and the rightmost point, which are known. */
export function screenTransform(
  xs: ArrayLike<number>,
  ys: ArrayLike<number>,
  screenOf: (index: number) => Point | undefined,
): ((x: number, y: number) => Point) | null {
  let [left, right] = [0, 0];
  for (let i = 1; i < xs.length; i++) {
    if (xs[i] < xs[left]) left = i;
    if (xs[i] > xs[right]) right = i;
  }
  const [from, to] = [screenOf(left), screenOf(right)];
  if (!from || !to) return null;
  const scale = (to[0] - from[0]) / (xs[right] - xs[left] || 1);
  return (x, y) => [from[0] + (x - xs[left]) * scale, from[1] - (y - ys[left]) * scale];
}
