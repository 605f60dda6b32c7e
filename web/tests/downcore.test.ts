import { describe, expect, it } from "vitest";
import type { Abundance, Samples } from "../src/lib/api";
import { panelsOf, positionsOf } from "../src/lib/downcore";

function row(taxon: string, abundance: number, sample = "A", high = abundance): Abundance {
  return { sample, taxon, count: 1, raw: 0, abundance, low: 0, high };
}

describe("panelsOf", () => {
  it("orders taxa by their greatest abundance and puts the unknown last", () => {
    const rows = [
      row("unknown", 0.9),
      row("rare", 0.1),
      row("common", 0.2),
      row("common", 0.6, "B"),
    ];
    expect(panelsOf(rows).map((panel) => panel.taxon)).toEqual(["common", "rare", "unknown"]);
    expect(panelsOf(rows)[0].rows).toHaveLength(2);
  });

  it("leaves out taxa that are rare in all samples, but not the unknown", () => {
    const rows = [row("rare", 0.01), row("unknown", 0.01)];
    expect(panelsOf(rows).map((panel) => panel.taxon)).toEqual(["unknown"]);
  });

  it("shows at most ten taxa", () => {
    const rows = Array.from({ length: 14 }, (_, i) => row(`taxon ${i}`, 0.05));
    expect(panelsOf(rows)).toHaveLength(10);
  });

  it("scales each panel to its widest interval or raw count, but not below 5 %", () => {
    expect(panelsOf([row("a", 0.3, "A", 0.4)])[0].most).toBe(0.4);
    expect(panelsOf([{ ...row("unknown", 0.1), raw: 0.8 }])[0].most).toBe(0.8);
    expect(panelsOf([row("a", 0.03, "A", 0.04)])[0].most).toBe(0.05);
  });
});

describe("positionsOf", () => {
  const samples = (depths: (number | null)[]): Samples["samples"] =>
    depths.map((depth, i) => ({ sample: `S${i}`, depth }) as Samples["samples"][number]);

  it("places samples by depth", () => {
    expect(positionsOf({ samples: samples([10, 20, 50]), depth: "depth_cm" })).toEqual([
      0, 0.25, 1,
    ]);
  });

  it("places samples in their order where there is no depth", () => {
    const none = samples([null, null, null]);
    expect(positionsOf({ samples: none, depth: "" })).toEqual([0, 0.5, 1]);
  });

  it("accepts a single sample and a missing depth", () => {
    expect(positionsOf({ samples: samples([5]), depth: "depth_cm" })).toEqual([0]);
    const [known, missing] = positionsOf({ samples: samples([5, null]), depth: "depth_cm" });
    expect(known).toBe(0);
    expect(missing).toBeNaN();
  });
});
