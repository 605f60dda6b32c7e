import type { Specimen } from "./api";

// Colors that color-blind people can distinguish (Okabe & Ito 2008, the yellow darkened), times
// shapes: 7 × 7 taxa can be distinguished, the first 7 by color alone.
export const COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#a89a00"];
export const GRAY = "#9aa2ae";
export const HIGHLIGHT = "#e4572e";
export const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "ring", "star"] as const;
export type Shape = (typeof SHAPES)[number];

export interface Marker {
  color: string;
  shape: Shape;
}

const STATES: Record<Specimen["state"], Marker> = {
  settled: { color: "#009e73", shape: "circle" },
  conflict: { color: "#d55e00", shape: "star" },
  accepted: { color: "#56b4e9", shape: "square" },
  genus: { color: "#e69f00", shape: "diamond" },
  ambiguous: { color: "#cc79a7", shape: "cross" },
  unknown: { color: GRAY, shape: "triangle" },
  not_a_specimen: { color: GRAY, shape: "ring" },
};

// viridis in sixteen steps: its lightness increases evenly, so it can be read without color.
export const SCALE = [
  "#440154",
  "#481a6c",
  "#472f7d",
  "#414487",
  "#39568c",
  "#31688e",
  "#2a788e",
  "#23888e",
  "#1f988b",
  "#22a884",
  "#35b779",
  "#54c568",
  "#7ad151",
  "#a5db36",
  "#d2e21b",
  "#fde725",
];

/** The marker of each level of a column; that of an empty level is gray. */
export function markersOf(column: string, levels: string[]): Marker[] {
  let next = 0;
  return levels.map((level) => {
    if (column === "state" && level in STATES) return STATES[level as Specimen["state"]];
    if (level === "") return { color: GRAY, shape: "circle" };
    const index = next++;
    const shape = SHAPES[Math.floor(index / COLORS.length) % SHAPES.length];
    return { color: COLORS[index % COLORS.length], shape };
  });
}

type Point = [number, number];

function polygon(points: Point[]): string {
  return `M${points.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join("L")}Z`;
}

function regular(corners: number, radius: (corner: number) => number): Point[] {
  return Array.from({ length: corners }, (_, corner) => {
    const angle = (2 * Math.PI * corner) / corners - Math.PI / 2;
    return [radius(corner) * Math.cos(angle), radius(corner) * Math.sin(angle)];
  });
}

function circle(radius: number, sweep: 0 | 1): string {
  const arc = `A${radius},${radius} 0 1 ${sweep}`;
  return `M${-radius},0${arc} ${radius},0${arc} ${-radius},0Z`;
}

/** The outline of a shape as an SVG path in a box from −10 to 10; all have about the same area. */
export function svgPath(shape: Shape): string {
  const radius = 6.5;
  switch (shape) {
    case "circle":
      return circle(radius, 1);
    case "ring":
      return circle(1.15 * radius, 1) + circle(0.6 * radius, 0);
    case "square": {
      const a = 5.8;
      return polygon([
        [-a, -a],
        [a, -a],
        [a, a],
        [-a, a],
      ]);
    }
    case "triangle":
      return polygon(regular(3, () => 1.45 * radius));
    case "diamond":
      return polygon(regular(4, () => 1.25 * radius));
    case "star":
      return polygon(regular(10, (corner) => (corner % 2 ? 0.6 : 1.5) * radius));
    case "cross": {
      const [a, b] = [8.8, 2.3];
      const arm: Point[] = [
        [-b, -b],
        [-b, -a],
        [b, -a],
      ];
      const turned = [0, 1, 2, 3].flatMap((turns) =>
        arm.map((point) => quarterTurns(point, turns)),
      );
      return polygon(turned);
    }
  }
}

function quarterTurns([x, y]: Point, turns: number): Point {
  for (let turn = 0; turn < turns; turn++) [x, y] = [-y, x];
  return [x, y];
}
