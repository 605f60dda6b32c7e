// What is drawn over the points once the map rests: markers, thumbnails, the selection, an upload.
import { Spacing, stepOf, type Point, type Range } from "./mapLayout";
import { GRAY, HIGHLIGHT, SCALE, svgPath, type Marker } from "./palette";

const MOST_MARKERS = 6000; // points in view up to which each gets a marker
const MOST_RINGS = 3000; // selected points up to which each gets a ring
const CELL = 58; // px between thumbnails
const SIDE = 52; // px of a thumbnail

export interface Overlay {
  /** The points in view, those of hidden levels left out. */
  view: number[];
  /** All points of the map, in view or not. */
  total: number;
  screenOf: (index: number) => Point | undefined;
  /** A code or a number for each point. */
  values: ArrayLike<number>;
  /** Empty for a column of numbers. */
  markers: Marker[];
  range: Range;
  selected: number[];
  /** Where an uploaded image is placed. */
  uploaded: Point | null;
  /** Draws the thumbnail of a point, if it has arrived. */
  drawThumbnail: ((index: number, x: number, y: number, side: number) => boolean) | null;
  background: string;
  width: number;
}

/** Draw everything over the points. */
export function drawOverlay(context: CanvasRenderingContext2D, overlay: Overlay): void {
  if (overlay.view.length <= MOST_MARKERS) {
    const thumbnails = drawMarkers(context, overlay);
    drawThumbnails(context, overlay, thumbnails);
  }
  if (overlay.selected.length <= MOST_RINGS) drawSelection(context, overlay);
  if (overlay.uploaded) drawStar(context, overlay.uploaded);
}

/** The most points in view for which thumbnails are drawn. */
export function mostThumbnails(total: number): number {
  return Math.max(150, Math.min(1500, total / 4));
}

function colorOf({ markers, values, range }: Overlay, index: number): string {
  const value = values[index];
  return markers.length ? markers[value].color : (SCALE[stepOf(value, range)] ?? GRAY);
}

function drawMarkers(context: CanvasRenderingContext2D, overlay: Overlay): [number, Point][] {
  const { view, markers, values } = overlay;
  const shapes = markers.map((marker) => new Path2D(svgPath(marker.shape)));
  const circle = new Path2D(svgPath("circle"));
  const size = (view.length > 2000 ? 0.42 : 0.6) * (overlay.width > 1800 ? 1.35 : 1);
  const spacing = new Spacing(CELL, SIDE);
  const hasThumbnails = view.length <= mostThumbnails(overlay.total);
  const thumbnails: [number, Point][] = [];
  for (const index of view) {
    const point = overlay.screenOf(index);
    if (!point) continue;
    if (overlay.drawThumbnail && hasThumbnails && spacing.take(...point))
      thumbnails.push([index, point]);
    context.save();
    context.translate(...point);
    context.scale(size, size);
    context.fillStyle = colorOf(overlay, index);
    context.strokeStyle = overlay.background;
    context.lineWidth = 2;
    const path = markers.length ? shapes[values[index]] : circle;
    context.stroke(path);
    context.fill(path, "evenodd");
    context.restore();
  }
  return thumbnails;
}

function drawThumbnails(
  context: CanvasRenderingContext2D,
  overlay: Overlay,
  thumbnails: [number, Point][],
): void {
  for (const [index, [x, y]] of thumbnails) {
    if (!overlay.drawThumbnail?.(index, x, y, SIDE)) continue;
    context.strokeStyle = colorOf(overlay, index);
    context.lineWidth = 3;
    context.strokeRect(x - SIDE / 2, y - SIDE / 2, SIDE, SIDE);
  }
}

function drawSelection(context: CanvasRenderingContext2D, overlay: Overlay): void {
  for (const index of overlay.selected) {
    const point = overlay.screenOf(index);
    if (!point) continue;
    context.beginPath();
    context.arc(...point, 8, 0, 2 * Math.PI);
    context.strokeStyle = overlay.background;
    context.lineWidth = 5;
    context.stroke();
    context.strokeStyle = HIGHLIGHT;
    context.lineWidth = 2.5;
    context.stroke();
  }
}

function drawStar(context: CanvasRenderingContext2D, point: Point): void {
  const path = new Path2D(svgPath("star"));
  context.save();
  context.translate(...point);
  context.scale(1.6, 1.6);
  context.strokeStyle = "white";
  context.lineWidth = 4;
  context.stroke(path);
  context.fillStyle = HIGHLIGHT;
  context.fill(path);
  context.restore();
}
