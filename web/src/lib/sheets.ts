// Small pictures from sheets of 256, fetched when a part of the map needs them, the last used kept.
const KEPT = 40; // sheets in memory, 4 MiB each

export class Sheets {
  private readonly loaded = new Map<number, ImageBitmap>();
  private readonly asked = new Set<number>();

  constructor(
    private readonly shape: { across: number; thumb: number; per_sheet: number },
    private readonly model: number,
    private readonly arrived: () => void,
  ) {}

  /** Draw the picture at a place of the order of `/map`; false while its sheet is on its way. */
  draw(context: CanvasRenderingContext2D, at: number, x: number, y: number, side: number): boolean {
    const number = Math.floor(at / this.shape.per_sheet);
    const sheet = this.loaded.get(number);
    if (!sheet) {
      void this.fetch(number);
      return false;
    }
    this.loaded.delete(number);
    this.loaded.set(number, sheet); // used last
    const cell = at % this.shape.per_sheet;
    const { thumb, across } = this.shape;
    const left = (cell % across) * thumb, top = Math.floor(cell / across) * thumb;
    context.drawImage(sheet, left, top, thumb, thumb, x - side / 2, y - side / 2, side, side);
    return true;
  }

  private async fetch(number: number): Promise<void> {
    if (this.asked.has(number) || this.asked.size > 6) return;
    this.asked.add(number);
    try {
      const answer = await fetch(`/api/sheets/${number}?model=${this.model}`);
      if (!answer.ok) return;
      this.loaded.set(number, await createImageBitmap(await answer.blob()));
      for (const old of this.loaded.keys()) {
        if (this.loaded.size <= KEPT) break;
        this.loaded.get(old)?.close();
        this.loaded.delete(old);
      }
    } catch {
      return; // the banner says that the server does not answer
    } finally {
      this.asked.delete(number);
    }
    this.arrived();
  }
}
