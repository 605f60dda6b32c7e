import { describe, expect, it } from "vitest";
import type { Finding } from "../src/lib/api";
import { describeLevel, titleOf } from "../src/lib/columns";
import { isCopy, sortFindings, titleOf as titleOfFinding } from "../src/lib/findings";
import { counted, decimal, percent } from "../src/lib/format";
import { describeVerdict } from "../src/lib/verdicts";

describe("format", () => {
  it("writes shares, decimals and counts", () => {
    expect(percent(0.1234)).toBe("12.3 %");
    expect(percent(0.996, 0)).toBe("100 %");
    expect(decimal(0.5, 3)).toBe("0.500");
    expect(counted(1, "specimen")).toBe("1 specimen");
    expect(counted(1200, "specimen")).toBe("1,200 specimens");
  });

  it("leaves missing numbers empty, but not zero", () => {
    expect([percent(null), percent(undefined), decimal(null)]).toEqual(["", "", ""]);
    expect([percent(0, 0), decimal(0)]).toEqual(["0 %", "0.00"]);
  });
});

describe("describeVerdict", () => {
  it("gives the name, or the verdict in words", () => {
    expect(describeVerdict("taxon", "Orbulina universa")).toBe("Orbulina universa");
    expect(describeVerdict("not_a_specimen", "")).toBe("not a specimen");
    expect(describeVerdict("unknown", "")).toBe("unknown");
  });
});

describe("columns", () => {
  it("have titles, and words for empty levels", () => {
    expect(titleOf("error_probability")).toBe("error probability");
    expect(titleOf("depth_cm")).toBe("depth_cm");
    expect(describeLevel("taxon", "")).toBe("no name");
    expect(describeLevel("sample", "")).toBe("none");
    expect(describeLevel("sample", "core 1")).toBe("core 1");
  });
});

describe("findings", () => {
  const finding = (kind: string, score: number | null = null): Finding =>
    ({ kind, score }) as Finding;

  it("are sorted by kind, then by score; kinds without a title come last", () => {
    const found = [
      finding("new kind"),
      finding("blank", 1),
      finding("label", 0.2),
      finding("label", 0.9),
    ];
    expect(sortFindings(found).map((one) => [one.kind, one.score])).toEqual([
      ["label", 0.9],
      ["label", 0.2],
      ["blank", 1],
      ["new kind", null],
    ]);
  });

  it("have a title, or else their kind", () => {
    expect(titleOfFinding(finding("near copy"))).toBe("Nearly the same image");
    expect(titleOfFinding(finding("new kind"))).toBe("new kind");
  });

  it("know which of them are copies", () => {
    expect(isCopy(finding("leak"))).toBe(true);
    expect(isCopy(finding("label"))).toBe(false);
  });
});
