import { describe, expect, it } from "vitest";
import { unpack } from "../src/lib/binary";

/** As the server packs it: spaces bring the text to a multiple of four bytes. */
function pack(header: object, values: Float32Array): ArrayBuffer {
  let text = new TextEncoder().encode(JSON.stringify(header));
  const padding = (4 - (text.length % 4)) % 4;
  text = new Uint8Array([...text, ...new Array<number>(padding).fill(0x20)]);
  const buffer = new ArrayBuffer(4 + text.length + values.byteLength);
  new DataView(buffer).setUint32(0, text.length, true);
  new Uint8Array(buffer, 4).set(text);
  new Float32Array(buffer, 4 + text.length).set(values);
  return buffer;
}

describe("unpack", () => {
  it("separates the header from the numbers", () => {
    const found = unpack<{ levels: string[] }>(
      pack({ levels: ["Glöckchen"] }, Float32Array.of(1, 2.5)),
    );
    expect(found.header).toEqual({ levels: ["Glöckchen"] });
    expect([...new Float32Array(found.data)]).toEqual([1, 2.5]);
  });

  it("accepts a response without numbers", () => {
    const found = unpack(pack({ ids: [] }, new Float32Array(0)));
    expect(found.data.byteLength).toBe(0);
  });

  it("refuses a response that is cut off", () => {
    expect(() => unpack(pack({ ids: ["a", "b"] }, new Float32Array(0)).slice(0, 10))).toThrow();
  });
});
