import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { store as Store } from "../src/lib/store.svelte";

const PROGRESS = { specimens: 9, settled: 1, conflicts: 0, expected_accuracy: 0.5 };

/** Decisions on their way to the server. */
describe("store.decide", () => {
  const fetch = vi.fn<(request: Request) => Promise<Response>>();
  let store: typeof Store;
  let sent: { reviewer: string; decisions: { specimen: string }[] }[];

  beforeEach(async () => {
    vi.resetModules();
    vi.stubGlobal("localStorage", { getItem: () => "K. Lee", setItem: vi.fn() });
    vi.stubGlobal("window", { setTimeout: vi.fn(), setInterval: vi.fn() });
    vi.stubGlobal("Request", RelativeRequest);
    vi.stubGlobal("fetch", fetch);
    sent = [];
    fetch.mockReset();
    fetch.mockImplementation(accept);
    ({ store } = await import("../src/lib/store.svelte"));
    store.account = { name: "", role: "curator", projects: null };
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  async function accept(request: Request): Promise<Response> {
    sent.push((await request.json()) as (typeof sent)[number]);
    return Response.json({ numbers: [1], progress: PROGRESS });
  }
  const decide = (specimen: string): Promise<void> =>
    store.decide([{ specimen, verdict: "unlisted", taxon: "" }]);
  const specimens = (): string[] => sent.flatMap((one) => one.decisions.map((d) => d.specimen));

  it("sends decisions under the reviewer's name and shows the progress", async () => {
    await decide("a");
    expect(sent[0].reviewer).toBe("K. Lee");
    expect(store.progress).toEqual(PROGRESS);
    expect(store.pending).toEqual([]);
  });

  it("keeps decisions in their order until the server responds again", async () => {
    fetch.mockRejectedValueOnce(new TypeError("Failed to fetch"));
    await decide("a");
    expect(store.connected).toBe(false);
    expect(store.pending).toHaveLength(1);
    await decide("b");
    expect(specimens()).toEqual(["a", "b"]);
    expect(store.pending).toEqual([]);
  });

  it("sends each decision once, also while another one is on its way", async () => {
    await Promise.all([decide("a"), decide("b"), decide("c")]);
    await vi.waitFor(() => {
      expect(specimens()).toEqual(["a", "b", "c"]);
    });
  });

  it("shows a refusal that would not change, and sends the next decision", async () => {
    fetch.mockResolvedValueOnce(Response.json({ detail: "no specimen a" }, { status: 404 }));
    await decide("a");
    expect(store.problem).toBe("no specimen a");
    await decide("b");
    expect(specimens()).toEqual(["b"]);
  });

  it("sends again what failed inside the server", async () => {
    fetch.mockResolvedValueOnce(new Response("", { status: 500 }));
    await decide("a");
    expect(store.pending).toHaveLength(1);
    await decide("b");
    expect(specimens()).toEqual(["a", "b"]);
  });

  it("keeps decisions while nobody is logged in", async () => {
    fetch.mockResolvedValueOnce(new Response("{}", { status: 401 }));
    await decide("a");
    expect(store.isLoggedOut).toBe(true);
    expect(store.problem).toBe("");
    await decide("b");
    expect(specimens()).toEqual(["a", "b"]);
  });

  it("keeps decisions while somebody else is logged in", async () => {
    fetch.mockResolvedValueOnce(Response.json({ detail: "you are Ben" }, { status: 403 }));
    await decide("a");
    expect(store.problem).toBe("you are Ben");
    await decide("b");
    expect(specimens()).toEqual(["a", "b"]);
  });

  it("sends no decision of a viewer", async () => {
    store.account = { name: "V. Iewer", role: "viewer", projects: null };
    await decide("a");
    expect(fetch).not.toHaveBeenCalled();
    expect(store.notice).toContain("not decide");
  });

  it("does not undo while decisions are waiting", async () => {
    fetch.mockRejectedValueOnce(new TypeError("Failed to fetch"));
    await decide("a");
    await expect(store.undo()).resolves.toBeNull();
    expect(store.notice).toContain("Wait");
    expect(fetch).toHaveBeenCalledOnce();
  });

  it("suggests new names again", async () => {
    await store.decide([{ specimen: "a", verdict: "taxon", taxon: "Nova species" }]);
    expect(store.newNames).toEqual(["Nova species"]);
  });
});

/** Node's requests need a host, which the page leaves out. */
class RelativeRequest extends Request {
  constructor(input: RequestInfo | URL, init?: RequestInit) {
    super(typeof input === "string" ? `http://localhost${input}` : input, init);
  }
}
