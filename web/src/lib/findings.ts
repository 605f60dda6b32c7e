// The findings of the check: their order and their titles.
import type { Finding } from "./api";

/** Titles by kind; the order of the kinds is the order in which findings are shown. */
const TITLES: Record<string, string> = {
  label: "Similar specimens have another name",
  conflict: "The same file has another name",
  duplicate: "The same file again",
  "near copy": "Nearly the same image",
  blank: "A nearly empty image",
  "off scale": "Far larger or smaller than others of its taxon",
  leak: "A copy, or a specimen of the same group, is in another subset of a split",
  unreadable: "The image cannot be read",
};
const ORDER = Object.keys(TITLES);

export function titleOf(finding: Finding): string {
  return TITLES[finding.kind] ?? finding.kind;
}

export function isCopy(finding: Finding): boolean {
  return ["duplicate", "near copy", "leak", "shared group"].includes(finding.kind);
}

/** By kind; within a kind the highest score first. */
export function sortFindings(findings: Finding[]): Finding[] {
  return [...findings].sort(
    (a, b) => rank(a.kind) - rank(b.kind) || (b.score ?? 0) - (a.score ?? 0),
  );
}

function rank(kind: string): number {
  const found = ORDER.indexOf(kind);
  return found < 0 ? ORDER.length : found;
}
