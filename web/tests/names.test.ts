import { describe, expect, it } from "vitest";
import { matches, suggestions } from "../src/lib/names";

const NAMES = ["Globigerina bulloides", "Globigerina falconensis", "Orbulina universa", "Orbulina"];
const SYNONYMS = {
  "Globigerina concinna": "Globigerina bulloides",
  "Biorbulina bilobata": "Orbulina universa",
};

describe("matches", () => {
  it("needs only the beginnings of words, in their order", () => {
    expect(matches("Globigerina bulloides", ["gl", "bu"])).toBe(true);
    expect(matches("Globigerina bulloides", ["bu"])).toBe(true);
    expect(matches("Globigerina bulloides", ["bu", "gl"])).toBe(false);
    expect(matches("Globigerina bulloides", ["lobi"])).toBe(false);
    expect(matches("clavate-radial", ["ra"])).toBe(true);
  });
});

describe("suggestions", () => {
  const named = (text: string): string[] =>
    suggestions(text, NAMES, SYNONYMS).map((one) =>
      one.note ? `${one.name} (${one.note})` : one.name,
    );

  it("is empty for an empty text", () => {
    expect(named("  ")).toEqual([]);
  });

  it("offers the names that fit and the text itself as a new name", () => {
    expect(named("gl fa")).toEqual(["Globigerina falconensis", "gl fa (a new name)"]);
  });

  it("puts an exact name first and then offers no new one", () => {
    expect(named("orbulina")).toEqual(["Orbulina", "Orbulina universa"]);
  });

  it("offers the accepted name of a synonym, once", () => {
    expect(named("bio")[0]).toBe("Orbulina universa (accepted name of Biorbulina bilobata)");
    expect(named("glob").filter((one) => one.startsWith("Globigerina bulloides"))).toHaveLength(1);
  });

  it("collapses spaces in a new name and refuses reserved signs", () => {
    expect(named("Nova   species")).toEqual(["Nova species (a new name)"]);
    expect(named("<unlisted>")).toEqual([]);
  });

  it("offers at most eight names", () => {
    const many = Array.from({ length: 20 }, (_, i) => `Taxon ${i}`);
    expect(suggestions("tax", many, {})).toHaveLength(9);
  });
});
