// Colours that the colour-blind tell apart (Okabe & Ito 2008, the yellow darkened), times shapes:
// 7 × 7 taxa are told apart, of which the first 7 differ by colour alone.
export const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#a89a00"];
export const GREY = "#9aa2ae";
export const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "ring", "star"] as const;
export type Shape = (typeof SHAPES)[number];
const DECISIONS: Record<string, [string, Shape]> = {
  settled: ["#009e73", "circle"], conflict: ["#d55e00", "star"], accepted: ["#56b4e9", "square"],
  genus: ["#e69f00", "diamond"], unknown: [GREY, "triangle"],
};
// viridis, sixteen steps: even in lightness, so that it reads without colour as well.
export const SCALE = [
  "#440154", "#481a6c", "#472f7d", "#414487", "#39568c", "#31688e", "#2a788e", "#23888e",
  "#1f988b", "#22a884", "#35b779", "#54c568", "#7ad151", "#a5db36", "#d2e21b", "#fde725",
];

export interface Look { colour: string; shape: Shape }

/** How each value of a column looks; an empty one is grey. */
export function looks(column: string, levels: string[]): Look[] {
  let next = 0;
  return levels.map((level) => {
    if (column === "decision" && DECISIONS[level]) {
      const [colour, shape] = DECISIONS[level];
      return { colour, shape };
    }
    if (level === "") return { colour: GREY, shape: "circle" };
    const at = next++;
    const shape = SHAPES[Math.floor(at / COLOURS.length) % SHAPES.length];
    return { colour: COLOURS[at % COLOURS.length], shape };
  });
}

/** The outline of a shape as an SVG path, in a box from −10 to 10; all of about the same area. */
export function svgPath(shape: Shape): string {
  const r = 6.5;
  const at = (points: [number, number][]): string =>
    `M${points.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join("L")}Z`;
  const round = (n: number, radius: (i: number) => number): [number, number][] =>
    Array.from({ length: n }, (_, i) => {
      const angle = (2 * Math.PI * i) / n - Math.PI / 2;
      return [radius(i) * Math.cos(angle), radius(i) * Math.sin(angle)];
    });
  const circle = (q: number, sweep: number): string => `M${-q},0A${q},${q} 0 1 ${sweep} ${q},0A${q},${q} 0 1 ${sweep} ${-q},0Z`;
  switch (shape) {
    case "circle": return circle(r, 1);
    case "ring": return circle(1.15 * r, 1) + circle(0.6 * r, 0);
    case "square": return at([[-5.8, -5.8], [5.8, -5.8], [5.8, 5.8], [-5.8, 5.8]]);
    case "triangle": return at(round(3, () => 1.45 * r));
    case "diamond": return at(round(4, () => 1.25 * r));
    case "star": return at(round(10, (i) => (i % 2 ? 0.6 : 1.5) * r));
    case "cross": {
      const a = 8.8, b = 2.9;
      return at([[-b, -a], [b, -a], [b, -b], [a, -b], [a, b], [b, b], [b, a], [-b, a], [-b, b], [-a, b], [-a, -b], [-b, -b]]);
    }
  }
}
