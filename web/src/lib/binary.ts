// The server's binary responses: the length of a JSON text (uint32), the text, then numbers.

export interface Unpacked<Header> {
  header: Header;
  data: ArrayBuffer;
}

/** Separate the JSON header of a binary response from the numbers that follow it. */
export function unpack<Header>(buffer: ArrayBuffer): Unpacked<Header> {
  const length = new DataView(buffer).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, 4, length));
  return { header: JSON.parse(text) as Header, data: buffer.slice(4 + length) };
}
