import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { SheetLayout } from "../src/lib/api";
import { ThumbnailSheets } from "../src/lib/sheets";

const LAYOUT: SheetLayout = { count: 60, columns: 16, thumbnail_size: 64, per_sheet: 256 };

describe("ThumbnailSheets", () => {
  const fetch = vi.fn<(url: string) => Promise<Partial<Response>>>();
  const close = vi.fn();
  const drawImage = vi.fn();
  const onLoad = vi.fn();
  const onOrderChanged = vi.fn();
  const context = { drawImage } as unknown as CanvasRenderingContext2D;
  let sheets: ThumbnailSheets;

  beforeEach(() => {
    vi.resetAllMocks();
    fetch.mockResolvedValue({ ok: true, status: 200, blob: () => Promise.resolve(new Blob()) });
    vi.stubGlobal("fetch", fetch);
    vi.stubGlobal("createImageBitmap", () => Promise.resolve({ close }));
    sheets = new ThumbnailSheets(LAYOUT, 3, onLoad, onOrderChanged);
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  const draw = (index: number): boolean => sheets.draw(context, index, 100, 50, 52);
  async function load(sheet: number): Promise<void> {
    draw(sheet * LAYOUT.per_sheet);
    await vi.waitFor(() => {
      expect(draw(sheet * LAYOUT.per_sheet)).toBe(true);
    });
  }

  it("fetches a sheet of the model's map when it is first needed", async () => {
    expect(draw(256)).toBe(false);
    expect(fetch).toHaveBeenCalledExactlyOnceWith("/api/sheets/1?model=3", {
      headers: {},
    });
    await vi.waitFor(() => {
      expect(onLoad).toHaveBeenCalledOnce();
    });
    expect(draw(256)).toBe(true);
    expect(fetch).toHaveBeenCalledOnce();
  });

  it("draws the cell of a specimen, centered", async () => {
    await load(0);
    drawImage.mockClear();
    draw(18); // second row, third column
    expect(drawImage.mock.calls[0].slice(1)).toEqual([128, 64, 64, 64, 74, 24, 52, 52]);
  });

  it("does not request a sheet twice while it is on its way", () => {
    draw(0);
    draw(1);
    expect(fetch).toHaveBeenCalledOnce();
  });

  it("limits the requests at the same time", () => {
    for (let sheet = 0; sheet < 20; sheet++) draw(sheet * 256);
    expect(fetch.mock.calls.length).toBe(6);
  });

  it("reports once that the server's order has changed, and requests no more", async () => {
    fetch.mockResolvedValue({ ok: false, status: 409 });
    draw(0);
    draw(256);
    await vi.waitFor(() => {
      expect(onOrderChanged).toHaveBeenCalledOnce();
    });
    expect(onLoad).not.toHaveBeenCalled();
    expect(draw(512)).toBe(false);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it("tries again after a failed request", async () => {
    fetch.mockRejectedValueOnce(new TypeError("failed"));
    draw(0);
    await new Promise((resolve) => setTimeout(resolve));
    await load(0);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it("releases the sheet that was not used for the longest time", async () => {
    for (let sheet = 0; sheet < 40; sheet++) await load(sheet);
    draw(0);
    await load(40);
    expect(close).toHaveBeenCalledOnce();
    expect(draw(0)).toBe(true);
    expect(draw(256)).toBe(false);
  });

  it("releases all sheets when it is closed", async () => {
    await load(0);
    sheets.close();
    expect(close).toHaveBeenCalledOnce();
  });
});
