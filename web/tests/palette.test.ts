import { describe, expect, it } from "vitest";
import { COLORS, GRAY, markersOf, SHAPES, svgPath } from "../src/lib/palette";

describe("markersOf", () => {
  const taxa = Array.from({ length: 49 }, (_, i) => `Taxon ${i}`);

  it("distinguishes the first seven levels by color alone", () => {
    const first = markersOf("taxon", taxa.slice(0, 7));
    expect(new Set(first.map((one) => one.color)).size).toBe(7);
    expect(new Set(first.map((one) => one.shape))).toEqual(new Set(["circle"]));
  });

  it("distinguishes 49 levels by color and shape", () => {
    const all = markersOf("taxon", taxa).map((one) => one.color + one.shape);
    expect(new Set(all).size).toBe(COLORS.length * SHAPES.length);
  });

  it("starts again after the last combination", () => {
    const [first, ...others] = markersOf("taxon", [...taxa, "One more"]);
    expect(others.at(-1)).toEqual(first);
  });

  it("gives an empty level a gray circle and no color of its own", () => {
    const [empty, taxon] = markersOf("taxon", ["", "Orbulina universa"]);
    expect(empty).toEqual({ color: GRAY, shape: "circle" });
    expect(taxon.color).toBe(COLORS[0]);
  });

  it("shows a state with the same marker whatever the other levels are", () => {
    const alone = markersOf("state", ["unknown"])[0];
    const last = markersOf("state", ["accepted", "genus", "unknown"])[2];
    expect(alone).toEqual(last);
    expect(markersOf("sample", ["unknown"])[0]).not.toEqual(alone);
  });
});

describe("svgPath", () => {
  it.each(SHAPES)("draws a %s inside its box", (shape) => {
    const path = svgPath(shape);
    expect(path).toMatch(/^M.*Z$/);
    for (const [number] of path.matchAll(/-?\d+(\.\d+)?/g))
      expect(Math.abs(Number(number))).toBeLessThanOrEqual(10);
  });

  it("gives all shapes but the ring about the same area", () => {
    for (const shape of ["square", "triangle", "diamond", "star", "cross"] as const) {
      const area = areaOf(svgPath(shape)) / (Math.PI * 6.5 ** 2);
      expect(area, shape).toBeGreaterThan(0.75);
      expect(area, shape).toBeLessThan(1.25);
    }
  });
});

function areaOf(path: string): number {
  const corners = path
    .slice(1, -1)
    .split("L")
    .map((pair) => pair.split(",").map(Number));
  const doubled = corners.reduce((sum, [x, y], i) => {
    const [nextX, nextY] = corners[(i + 1) % corners.length];
    return sum + x * nextY - nextX * y;
  }, 0);
  return Math.abs(doubled) / 2;
}
