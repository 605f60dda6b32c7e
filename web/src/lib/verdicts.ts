// The words in which verdicts and the model's decisions are shown.
import type { Verdict } from "./api";

const VERDICTS: Partial<Record<string, string>> = {
  unlisted: "unlisted",
  not_a_specimen: "not a specimen",
  duplicate: "duplicate",
  skip: "skipped",
} satisfies Record<Exclude<Verdict, "taxon">, string>;

/** A verdict in words; the name itself for the verdict `taxon`. */
export function describeVerdict(verdict: string, taxon: string): string {
  return taxon || (VERDICTS[verdict] ?? verdict);
}
