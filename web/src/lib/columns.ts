// The columns by which the map is colored, in words.

const TITLES: Partial<Record<string, string>> = {
  name: "taxon",
  taxon: "taxon",
  error_probability: "error probability",
};

export function titleOf(column: string): string {
  return TITLES[column] ?? column;
}

/** A level in words; an empty taxon is an unknown one. */
export function describeLevel(column: string, level: string): string {
  return level || (titleOf(column) === "taxon" ? "unknown" : "none");
}
