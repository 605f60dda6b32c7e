// Thumbnails from sheets of 256, fetched when the map needs them; the last used sheets are kept.
import type { SheetLayout } from "./api";
import { BASE, sessionHeaders } from "./session";

const MOST_SHEETS = 40; // in memory, 4 MiB each
const MOST_REQUESTS = 6; // at the same time
const ORDER_CHANGED = 409;

export class ThumbnailSheets {
  private readonly loaded = new Map<number, ImageBitmap>();
  private readonly requested = new Set<number>();
  private isClosed = false;

  /**
   * @param model The model by whose map the sheets are ordered.
   * @param onLoad Called when a sheet has arrived.
   * @param onOrderChanged Called once when the server uses another model's map; then this is
   *   closed.
   */
  constructor(
    private readonly layout: SheetLayout,
    private readonly model: number,
    private readonly onLoad: () => void,
    private readonly onOrderChanged: () => void,
  ) {}

  /** Draw the thumbnail of a point, centered; false while its sheet is on its way. */
  draw(
    context: CanvasRenderingContext2D,
    index: number,
    x: number,
    y: number,
    side: number,
  ): boolean {
    const { columns, thumbnail_size: size, per_sheet } = this.layout;
    const number = Math.floor(index / per_sheet);
    const sheet = this.loaded.get(number);
    if (!sheet) {
      void this.fetch(number);
      return false;
    }
    this.loaded.delete(number);
    this.loaded.set(number, sheet); // now the last used
    const cell = index % per_sheet;
    const left = (cell % columns) * size;
    const top = Math.floor(cell / columns) * size;
    context.drawImage(sheet, left, top, size, size, x - side / 2, y - side / 2, side, side);
    return true;
  }

  /** Release the images, and request no more. */
  close(): void {
    this.isClosed = true;
    for (const sheet of this.loaded.values()) sheet.close();
    this.loaded.clear();
  }

  private async fetch(number: number): Promise<void> {
    if (this.isClosed || this.requested.has(number)) return;
    if (this.requested.size >= MOST_REQUESTS) return;
    this.requested.add(number);
    try {
      const response = await fetch(`${BASE}/api/sheets/${number}?model=${this.model}`, {
        headers: sessionHeaders(),
      });
      if (response.status === ORDER_CHANGED) this.report();
      if (!response.ok) return;
      this.keep(number, await createImageBitmap(await response.blob()));
    } catch {
      return; // the page says elsewhere that the server does not respond
    } finally {
      this.requested.delete(number);
    }
    this.onLoad();
  }

  private report(): void {
    if (this.isClosed) return; // one of several requests has reported it
    this.close();
    this.onOrderChanged();
  }

  private keep(number: number, sheet: ImageBitmap): void {
    this.loaded.set(number, sheet);
    if (this.isClosed) this.close(); // it was closed while the sheet was on its way
    for (const [oldest, image] of this.loaded) {
      if (this.loaded.size <= MOST_SHEETS) break;
      image.close();
      this.loaded.delete(oldest);
    }
  }
}
