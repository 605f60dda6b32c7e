// The columns by which the map is colored, in words.

const TITLES: Partial<Record<string, string>> = { error_probability: "error probability" };

export function titleOf(column: string): string {
  return TITLES[column] ?? column;
}

/** A level in words; an empty taxon is an unknown one. */
export function describeLevel(column: string, level: string): string {
  return level || (column === "taxon" ? "unknown" : "none");
}
