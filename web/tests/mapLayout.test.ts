import { describe, expect, it } from "vitest";
import {
  countLevels,
  normalize,
  rangeOf,
  screenTransform,
  shownPoints,
  Spacing,
  stepOf,
  toggle,
  toggleLevel,
} from "../src/lib/mapLayout";
import { SCALE } from "../src/lib/palette";

describe("normalize", () => {
  it("fills the plot in the longer direction and keeps the proportions", () => {
    const { xs, ys } = normalize(Float32Array.of(0, 0, 10, 5));
    expect([...xs].map((x) => x.toFixed(3))).toEqual(["-0.950", "0.950"]);
    expect([...ys].map((y) => y.toFixed(3))).toEqual(["-0.475", "0.475"]);
  });

  it("places other coordinates in the same way", () => {
    const { xs, ys, toPlot } = normalize(Float32Array.of(-3, 1, 4, 9, 2, 2));
    const [x, y] = toPlot(4, 9);
    expect(x).toBeCloseTo(xs[1]);
    expect(y).toBeCloseTo(ys[1]);
  });

  it("puts a single point in the middle", () => {
    const { xs, ys } = normalize(Float32Array.of(7, 8));
    expect([xs[0], ys[0]]).toEqual([0, 0]);
  });

  it("accepts a map without points", () => {
    expect(normalize(new Float32Array(0)).toPlot(0, 0)).toEqual([0, 0]);
  });
});

describe("columns", () => {
  it("counts the specimens of each level, also of one without any", () => {
    expect(countLevels(Uint16Array.of(0, 2, 2), 3)).toEqual([1, 0, 2]);
  });

  it("finds the range of the numbers that are present", () => {
    expect(rangeOf(Float32Array.of(3, NaN, -1))).toEqual([-1, 3]);
    expect(rangeOf(Float32Array.of(NaN))).toEqual([0, 1]);
  });

  it("divides the range into the steps of the scale, with one more for missing numbers", () => {
    expect(stepOf(0, [0, 1])).toBe(0);
    expect(stepOf(0.5, [0, 1])).toBe(SCALE.length / 2);
    expect(stepOf(1, [0, 1])).toBe(SCALE.length - 1);
    expect(stepOf(NaN, [0, 1])).toBe(SCALE.length);
    expect(stepOf(4, [4, 4])).toBe(0);
  });
});

describe("hiding levels", () => {
  const levels = ["a", "b", "c"];

  it("hides a level and shows it again", () => {
    const hidden = toggleLevel(new Set(), levels, "b", false);
    expect(hidden).toEqual(new Set(["b"]));
    expect(toggleLevel(hidden, levels, "b", false)).toEqual(new Set());
  });

  it("shows one level alone and then all again", () => {
    const hidden = toggleLevel(new Set(["b"]), levels, "b", true);
    expect(hidden).toEqual(new Set(["a", "c"]));
    expect(toggleLevel(hidden, levels, "b", true)).toEqual(new Set());
  });

  it("leaves out the specimens of hidden levels", () => {
    expect(shownPoints(Uint16Array.of(0, 1, 0, 2), [true, false, false])).toEqual([1, 3]);
  });

  it("does not change the set it is given", () => {
    const given = new Set([1]);
    expect(toggle(given, 1).size).toBe(0);
    expect(given.size).toBe(1);
  });
});

describe("Spacing", () => {
  it("refuses a place near another one, also across the border of a cell", () => {
    const spacing = new Spacing(58, 52);
    expect(spacing.take(57, 57)).toBe(true);
    expect(spacing.take(60, 60)).toBe(false);
    expect(spacing.take(57 + 45, 57)).toBe(true);
  });
});

describe("screenTransform", () => {
  const xs = [0, -1, 1];
  const ys = [0.5, 0, 0];
  const screenOf = (index: number): [number, number] => [
    300 + 200 * xs[index],
    150 - 200 * ys[index],
  ];

  it("finds any place on the screen from two known ones", () => {
    expect(screenTransform(xs, ys, screenOf)?.(0, 0.5)).toEqual([300, 50]);
  });

  it("gives nothing where the plot does not know its points yet", () => {
    expect(screenTransform(xs, ys, () => undefined)).toBeNull();
  });
});
