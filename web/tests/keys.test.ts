import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { command } from "../src/lib/keys";

const PAGE = { closest: () => null };
const INPUT = { closest: () => ({}) };

function press(
  key: string,
  properties: Partial<KeyboardEvent> = {},
  target: object = PAGE,
): string {
  return command({ key, target, ...properties } as unknown as KeyboardEvent);
}

describe("command", () => {
  const querySelector = vi.fn<(selector: string) => object | null>();
  beforeEach(() => {
    querySelector.mockReturnValue(null);
    vi.stubGlobal("document", { querySelector });
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it("names letters in lower case and other keys as they are", () => {
    expect(press("U")).toBe("u");
    expect(press("?")).toBe("?");
    expect(press("ArrowLeft")).toBe("ArrowLeft");
  });

  it("ignores keys while the user types", () => {
    expect(press("u", {}, INPUT)).toBe("");
  });

  it("ignores keys while a dialog is open", () => {
    querySelector.mockReturnValue({});
    expect(press("u")).toBe("");
  });

  it("ignores a key that is held down", () => {
    expect(press("Enter", { repeat: true })).toBe("");
  });

  it.each(["ctrlKey", "metaKey", "altKey"])("ignores shortcuts with %s", (modifier) => {
    expect(press("z", { [modifier]: true })).toBe("");
  });

  it("accepts an event whose target is the document", () => {
    expect(press("z", {}, {})).toBe("z");
  });
});
