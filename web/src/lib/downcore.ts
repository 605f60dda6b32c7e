// The layout of the diagram of abundances down a core.
import type { Abundance, Samples } from "./api";

export const UNKNOWN = "unknown";
const LEAST_ABUNDANCE = 0.02; // a taxon that is nowhere more abundant gets no panel
const MOST_TAXA = 10;
const LEAST_SCALE = 0.05;

/** One taxon down the core. */
export interface Panel {
  taxon: string;
  rows: Abundance[];
  /** The abundance at the right border. */
  most: number;
}

/** The most abundant taxa, those that are most abundant in some sample first; the unknown last. */
export function panelsOf(abundances: Abundance[]): Panel[] {
  const byTaxon = new Map<string, Abundance[]>();
  for (const row of abundances) {
    const rows = byTaxon.get(row.taxon);
    if (rows) rows.push(row);
    else byTaxon.set(row.taxon, [row]);
  }
  const top = (rows: Abundance[]): number => Math.max(...rows.map((row) => row.abundance));
  const shown = [...byTaxon]
    .filter(([taxon, rows]) => taxon !== UNKNOWN && top(rows) >= LEAST_ABUNDANCE)
    .sort(([, one], [, other]) => top(other) - top(one))
    .slice(0, MOST_TAXA);
  const unknown = byTaxon.get(UNKNOWN);
  if (unknown) shown.push([UNKNOWN, unknown]);
  return shown.map(([taxon, rows]) => {
    const values = rows.flatMap((row) => [row.high, row.raw]);
    return { taxon, rows, most: Math.max(LEAST_SCALE, ...values) };
  });
}

/** The vertical positions of samples between 0 and 1: by depth, or else in their order. */
export function positionsOf({ samples, depth }: Pick<Samples, "samples" | "depth">): number[] {
  const depths = samples.map((sample, i) => (depth ? (sample.depth ?? NaN) : i));
  const known = depths.filter((one) => !Number.isNaN(one));
  const [low, high] = [Math.min(...known), Math.max(...known)];
  return depths.map((one) => (one - low) / (high - low || 1));
}
