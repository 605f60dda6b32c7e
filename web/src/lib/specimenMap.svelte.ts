// The map of all specimens: a WebGL scatterplot, the markers over it, and what is selected.
import createScatterplot from "regl-scatterplot";
import { api, body, unpacked } from "./api";
import { describeLevel, titleOf } from "./columns";
import {
  countLevels,
  normalize,
  rangeOf,
  screenTransform,
  shownPoints,
  stepOf,
  toggleLevel,
  type Point,
  type Range,
} from "./mapLayout";
import { drawOverlay } from "./mapOverlay";
import { GRAY, HIGHLIGHT, markersOf, SCALE } from "./palette";
import { ThumbnailSheets } from "./sheets";
import { store } from "./store.svelte";

const REST_MS = 90; // without a movement, until markers and thumbnails are drawn
const LARGE = 10_000;
const VERY_LARGE = 200_000;

type Plot = ReturnType<typeof createScatterplot>;

export interface Canvases {
  points: HTMLCanvasElement;
  overlay: HTMLCanvasElement;
}

export class SpecimenMap {
  column = $state("taxon");
  levels = $state.raw<string[]>([]);
  counts = $state.raw<number[]>([]);
  range = $state.raw<Range>([0, 1]);
  hidden = $state.raw<ReadonlySet<string>>(new Set());
  thumbnails = $state(true);
  isLasso = $state(false);
  /** The indices of the selected points. */
  selected = $state.raw<number[]>([]);
  /** The point under the pointer. */
  hovered = $state.raw<{ id: string; at: Point; text: string } | null>(null);
  /** Map coordinates of an uploaded image. */
  uploaded = $state.raw<Point | null>(null);
  loaded = $state(false);
  isVisible = true;
  readonly markers = $derived(markersOf(this.column, this.levels));

  // Large arrays stay outside of Svelte's state.
  private ids: string[] = [];
  private indexOf = new Map<string, number>();
  private layout = normalize(new Float32Array(0));
  private values: Uint16Array | Float32Array = new Uint16Array(0);
  private spatialIndex: ArrayBuffer | undefined;
  private sheets: ThumbnailSheets | null = null;
  private model = -1;
  private plot: Plot | null = null;
  private canvases: Canvases | null = null;
  private timer = 0;

  /** @param onSelect Called when the user selects points on the map, or none. */
  constructor(private readonly onSelect: (ids: string[]) => void) {}

  /** Start drawing; gives a function that ends it. */
  attach(canvases: Canvases, specimens: number): () => void {
    const plot = createScatterplot({
      canvas: canvases.points,
      pointSize: specimens > VERY_LARGE ? 2 : specimens > LARGE ? 3 : 5,
      pointSizeSelected: 2,
      opacity: specimens > VERY_LARGE ? 0.6 : 0.9,
      lassoInitiator: false,
      lassoColor: HIGHLIGHT,
      pointColorActive: HIGHLIGHT,
      pointOutlineWidth: 1,
      deselectOnDblClick: true,
      deselectOnEscape: true,
      spatialIndexUseWorker: true,
      showReticle: false,
    });
    this.plot = plot;
    this.canvases = canvases;
    this.listen(plot);
    const resized = new ResizeObserver(() => this.drawLater());
    resized.observe(canvases.points);
    // For tests and measurements: what is drawn, and a way to move.
    Object.assign(window, {
      forametricMap: {
        plot,
        count: () => this.ids.length,
        selected: () => this.selected.length,
        screen: (id: string) => plot.getScreenPosition(this.indexOf.get(id) ?? -1),
      },
    });
    void this.refresh();
    return () => {
      resized.disconnect();
      plot.destroy();
      this.sheets?.close();
    };
  }

  private listen(plot: Plot): void {
    plot.subscribe("view", () => {
      this.clearOverlay();
      this.hovered = null;
      this.drawLater();
    });
    plot.subscribe("select", ({ points }: { points: number[] }) => {
      void this.setLasso(false);
      this.uploaded = null;
      this.userSelected(points);
    });
    plot.subscribe("deselect", () => this.userSelected([]));
    plot.subscribe("pointOver", (index: number) => (this.hovered = this.hoverOf(index)));
    plot.subscribe("pointOut", () => (this.hovered = null));
  }

  private userSelected(points: number[]): void {
    this.selected = points;
    this.onSelect(this.selectedIds);
    this.drawLater();
  }

  private hoverOf(index: number): SpecimenMap["hovered"] {
    const at = this.screenOf(index);
    if (!at) return null;
    const value = this.values[index];
    const text = this.levels.length
      ? describeLevel(this.column, this.levels[value])
      : `${titleOf(this.column)} ${value.toFixed(2)}`;
    return { id: this.ids[index], at, text };
  }

  // Data

  private isStale = false;
  private refreshing: Promise<void> | null = null;

  /** Load the present column (and the map, if another model is in use) and draw it. */
  async refresh(): Promise<void> {
    this.isStale = true;
    this.refreshing ??= this.refreshAll();
    try {
      await this.refreshing;
    } catch (error) {
      store.fail(error);
    }
  }

  private async refreshAll(): Promise<void> {
    try {
      while (this.isStale) {
        this.isStale = false;
        if (store.status?.model !== this.model) await this.loadPoints();
        await this.loadColumn();
      }
    } finally {
      this.refreshing = null;
    }
  }

  /** Load the coordinates; without WebGL they still serve the search. */
  async loadPoints(): Promise<void> {
    const request = api.GET("/api/map", { parseAs: "arrayBuffer" });
    const { header, data } = await unpacked<{ ids: string[]; model: number }>(request);
    const selected = this.selectedIds;
    this.ids = header.ids;
    this.indexOf = new Map(header.ids.map((id, index) => [id, index]));
    this.layout = normalize(new Float32Array(data));
    this.selected = this.indicesOf(selected);
    this.spatialIndex = undefined;
    this.model = header.model;
    this.sheets?.close();
    this.sheets = new ThumbnailSheets(
      store.project!.sheets,
      this.model,
      () => this.drawLater(),
      () => void this.reload(),
    );
  }

  /** Load everything again, because the order of the specimens has changed. */
  private async reload(): Promise<void> {
    this.model = -1;
    await store.poll(); // the project's sheets may have changed, too
    await this.refresh();
  }

  private async loadColumn(): Promise<void> {
    const { column, plot } = this;
    const request = api.GET("/api/column", {
      params: { query: { name: column } },
      parseAs: "arrayBuffer",
    });
    const { header, data } = await unpacked<{ levels: string[] }>(request);
    if (column !== this.column || !plot) return;
    const isCategorical = header.levels.length > 0;
    this.values = isCategorical
      ? new Uint16Array(data.slice(0, 2 * this.ids.length))
      : new Float32Array(data);
    this.range = isCategorical ? [0, 1] : rangeOf(this.values);
    this.counts = isCategorical ? countLevels(this.values, header.levels.length) : [];
    this.levels = header.levels;
    await this.drawPoints(plot);
    this.loaded = true;
    this.filter();
    this.drawLater();
  }

  private async drawPoints(plot: Plot): Promise<void> {
    const { levels, values, range } = this;
    const colors = levels.length ? this.markers.map((one) => one.color) : [...SCALE, GRAY];
    void plot.set({
      colorBy: "category",
      pointColor: colors.length > 1 ? colors : [colors[0], colors[0]],
    });
    const codes = levels.length ? values : Uint16Array.from(values, (v) => stepOf(v, range));
    await plot.draw(
      { x: this.layout.xs, y: this.layout.ys, z: codes },
      { zDataType: "categorical", spatialIndex: this.spatialIndex },
    );
    this.spatialIndex = plot.get("spatialIndex");
    this.showSelection(); // also what was selected while the points were drawn
  }

  // Filter and selection

  /** Hide a level or show it again; `alone` hides all others. */
  toggle(level: string, alone: boolean): void {
    this.hidden = toggleLevel(this.hidden, this.levels, level, alone);
    this.filter();
  }

  private filter(): void {
    if (!this.plot) return;
    if (this.hidden.size) {
      const hidden = this.levels.map((level) => this.hidden.has(level));
      void this.plot.filter(shownPoints(this.values, hidden));
    } else {
      void this.plot.unfilter();
    }
    this.drawLater();
  }

  setColumn(column: string): void {
    this.column = column;
    this.hidden = new Set();
    void this.refresh();
  }

  /** The lasso shows as on once the map follows it: a stroke drawn earlier would move the map. */
  async setLasso(on: boolean): Promise<void> {
    await this.plot?.set({ mouseMode: on ? "lasso" : "panZoom" });
    this.isLasso = on;
  }

  get selectedIds(): string[] {
    return this.selected.map((index) => this.ids[index]);
  }

  /** Select specimens, and zoom to them; gives those that are on the map. */
  select(ids: string[], padding?: number): string[] {
    const indices = this.indicesOf(ids);
    this.selected = indices;
    if (this.loaded) {
      this.showSelection();
      if (indices.length && padding !== undefined) {
        const options = { padding, transition: true, transitionDuration: 400 };
        void this.plot?.zoomToPoints(indices, options);
      }
    }
    this.drawLater();
    return this.selectedIds;
  }

  /** Highlight what is selected; the plot gets a copy, since it drops hidden points from it. */
  private showSelection(): void {
    if (this.selected.length) this.plot?.select([...this.selected], { preventEvent: true });
    else this.plot?.deselect({ preventEvent: true });
  }

  private indicesOf(ids: string[]): number[] {
    return ids.map((id) => this.indexOf.get(id)).filter((index) => index !== undefined);
  }

  showAll(): void {
    void this.plot?.reset();
  }

  // Markers and thumbnails

  /** Draw markers and thumbnails over the points once the map rests. */
  drawLater(): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.drawOverlay(), REST_MS);
  }

  private clearOverlay(): void {
    const canvas = this.canvases?.overlay;
    canvas?.getContext("2d")?.clearRect(0, 0, canvas.width, canvas.height);
  }

  private drawOverlay(): void {
    const { plot, canvases, sheets } = this;
    if (!plot || !canvases || !this.isVisible || !plot.get("isPointsDrawn")) return;
    const { points, overlay } = canvases;
    const ratio = window.devicePixelRatio || 1;
    overlay.width = points.clientWidth * ratio;
    overlay.height = points.clientHeight * ratio;
    const context = overlay.getContext("2d");
    if (!context) return;
    context.scale(ratio, ratio);
    drawOverlay(context, {
      view: this.pointsInView(plot),
      total: this.ids.length,
      screenOf: (index) => this.screenOf(index),
      values: this.values,
      markers: this.markers,
      range: this.range,
      selected: this.selected,
      uploaded: this.uploaded && this.toScreen(this.uploaded),
      drawThumbnail:
        sheets && this.thumbnails
          ? (index, x, y, side) => sheets.draw(context, index, x, y, side)
          : null,
      background: getComputedStyle(points).backgroundColor,
      width: points.clientWidth,
    });
  }

  /** The shown points in view; none while too many are to be drawn one by one. */
  private pointsInView(plot: Plot): number[] {
    if (this.ids.length > 50_000 && plot.get("cameraDistance") >= 0.35) return [];
    const view = plot.get("pointsInView");
    if (!this.hidden.size) return view;
    return view.filter((index) => !this.hidden.has(this.levels[this.values[index]]));
  }

  private screenOf(index: number): Point | undefined {
    return this.plot?.getScreenPosition(index);
  }

  private toScreen(at: Point): Point | null {
    const { xs, ys, toPlot } = this.layout;
    const transform = screenTransform(xs, ys, (index) => this.screenOf(index));
    return transform && transform(...toPlot(...at));
  }
}

/** Whether this browser can draw the map. */
export function hasWebGL(): boolean {
  return !!document.createElement("canvas").getContext("webgl2");
}

/** The specimens in which a text occurs. */
export function searchSpecimens(text: string): Promise<{ count: number; ids: string[] }> {
  return body(api.GET("/api/specimens", { params: { query: { text } } }));
}
