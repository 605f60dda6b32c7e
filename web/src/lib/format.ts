// Numbers in texts.

/** A share as a percentage; empty where it is missing. */
export function percent(share: number | null | undefined, digits = 1): string {
  return share === null || share === undefined ? "" : `${(100 * share).toFixed(digits)} %`;
}

/** A number with a fixed count of decimals; empty where it is missing. */
export function decimal(value: number | null | undefined, digits = 2): string {
  return value === null || value === undefined ? "" : value.toFixed(digits);
}

/** A count with its noun: "1 specimen", "1,200 specimens". */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
