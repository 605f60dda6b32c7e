// The columns by which the map is colored, in words.
import { describeVerdict } from "./verdicts";

const TITLES: Partial<Record<string, string>> = { error_probability: "error probability" };

export function titleOf(column: string): string {
  return TITLES[column] ?? column;
}

/** A level in words. Specimens that are unknown or ambiguous have no taxon. */
export function describeLevel(column: string, level: string): string {
  if (column === "state") return describeVerdict(level, "");
  return level || (column === "taxon" ? "no name" : "none");
}
