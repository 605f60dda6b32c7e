import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { body, ConnectionError, createApi, download, imageUrl, RequestError } from "../src/lib/api";

describe("createApi", () => {
  const fetch = vi.fn<(request: Request) => Promise<Response>>();
  beforeEach(() => {
    fetch.mockReset();
    vi.stubGlobal("fetch", fetch);
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  const answer = (status: number, content: BodyInit): void => {
    fetch.mockResolvedValue(new Response(content, { status }));
  };
  const status = (): Promise<unknown> => body(createApi("http://localhost").GET("/api/status"));

  it("gives the body of an answer", async () => {
    answer(200, '{"model": 2}');
    await expect(status()).resolves.toEqual({ model: 2 });
    expect(fetch.mock.calls[0][0].url).toBe("http://localhost/api/status");
  });

  it("escapes what stands in a query", async () => {
    answer(200, "{}");
    const params = { query: { sample: "core 1/2&#%" } };
    await createApi("http://localhost").GET("/api/samples/precision", { params });
    expect(fetch.mock.calls[0][0].url).toContain(
      "/api/samples/precision?sample=core%201%2F2%26%23%25",
    );
  });

  it("repeats the parameter of a list", async () => {
    answer(200, "{}");
    const params = { query: { reviewer: "K. Lee", exclude: ["a", "b"] } };
    await createApi("http://localhost").GET("/api/queue", { params });
    expect(fetch.mock.calls[0][0].url).toContain("reviewer=K.%20Lee&exclude=a&exclude=b");
  });

  it("throws the reason of a refusal", async () => {
    answer(404, '{"detail": "there is no specimen x."}');
    await expect(status()).rejects.toEqual(new RequestError("there is no specimen x.", 404));
  });

  it("has a message for a refusal that lists fields", async () => {
    answer(422, '{"detail": [{"loc": ["body"], "msg": "missing"}]}');
    await expect(status()).rejects.toThrow("did not accept the request");
  });

  it("sends the key that the log-in has left", async () => {
    vi.stubGlobal("localStorage", { getItem: () => "a-key" });
    answer(200, "{}");
    await status();
    expect(fetch.mock.calls[0][0].headers.get("X-Forametric-Key")).toBe("a-key");
  });

  it("says that the session has ended", async () => {
    answer(401, '{"detail": "no token"}');
    await expect(status()).rejects.toThrow("not logged in any more");
  });

  it("distinguishes a server that does not respond", async () => {
    fetch.mockRejectedValue(new TypeError("Failed to fetch"));
    await expect(status()).rejects.toBeInstanceOf(ConnectionError);
  });
});

describe("download", () => {
  it("gives a file and its name", async () => {
    const headers = { "Content-Disposition": "attachment; filename*=utf-8''core%20%C3%A9.csv" };
    vi.stubGlobal("fetch", () => Promise.resolve(new Response("a,b", { headers })));
    const { content, name } = await download("/api/exports/csv");
    expect(name).toBe("core é.csv");
    expect(await content.text()).toBe("a,b");
    vi.unstubAllGlobals();
  });
});

describe("imageUrl", () => {
  it("escapes the id", () => {
    expect(imageUrl("a/b&%", 96)).toBe("/api/image?specimen=a%2Fb%26%25&size=96");
  });
});
