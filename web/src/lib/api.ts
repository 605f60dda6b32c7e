// The server's interface, as /api/openapi.json describes it.

export type Verdict = "taxon" | "unknown" | "none" | "duplicate" | "skip";
export interface Reference { id: string; distance: number }
export interface Candidate { taxon: string; probability: number; references: Reference[] }
export interface Alike { id: string; name: string; distance: number }
export interface Progress { specimens: number; settled: number; conflicts: number; expected_right: number }
export interface Project {
  name: string; version: string; specimens: number; skipped: number; taxa: string[];
  taxonomy: string[]; synonyms: Record<string, string>; columns: string[];
  sheets: { count: number; across: number; thumb: number; per_sheet: number };
  exports: string[]; model: string; has_samples: boolean;
}
export interface Status {
  naming: number; model: number; changed: boolean; progress: Progress;
  jobs: Record<string, { state: string; says: string }>;
}
export interface Queued {
  id: string; image: string; label: string; sample: string; decision: string; suggested: string;
  probability: number; doubt: number; evidence: string; candidates: Candidate[];
}
export interface Specimen {
  id: string; name: string; state: string; settled: string; suggested: string; probability: number;
  decision: string; evidence: string; doubt: number; novelty: number; candidates: Candidate[];
  columns: Record<string, string>;
  history: { number: number; reviewer: string; time: string; verdict: string; taxon: string; undoes: number | null }[];
}
export interface Identified {
  taxon: string; decision: string; reason: string; probability: number; novelty: number;
  candidates: Candidate[]; similar: Alike[]; x: number; y: number;
}
export interface Morphotype {
  number: number; name: string; specimens: number; members: string[]; cohesion: number;
  known: number; nearest: { taxon: string; distance: number; reference: string }[];
}
export interface Finding {
  kind: string; id: string; image: string; label: string; other_id: string; other_image: string;
  other_label: string; taxon: string; other_taxon: string; score: number; says: string;
}
export interface Conflict {
  specimen: string;
  said: { reviewer: string; verdict: string; taxon: string; time: string }[];
}
export interface Agreement {
  decisions: number; reviewers: string[]; conflicts: Conflict[];
  cohen: { reviewers: string[]; specimens: number; kappa: number | null }[];
  fleiss: { specimens: number; kappa: number | null };
}
export interface Share {
  sample: string; taxon: string; count: number; plain: number; share: number; low: number; high: number;
}
export interface Samples {
  made: boolean; depth: string; shares: Share[]; samples: Record<string, string | number | null>[];
}
export interface ModelRow {
  number: number; name: string; current: boolean; report: boolean;
  measured: null | { tested: number; accuracy: number; accuracy_95: [number, number]; macro_f1: number; ece: number | null };
}

/** The server said no, and why. */
export class Refused extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

/** The server did not answer. */
export class Unreachable extends Error {}

async function ask(path: string, init?: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(`/api/${path}`, init);
  } catch {
    throw new Unreachable("The server does not answer.");
  }
  if (answer.ok) return answer;
  let detail: unknown;
  try {
    detail = (await answer.json()).detail;
  } catch {
    detail = answer.statusText;
  }
  const says = typeof detail === "string" ? detail : "the request was not understood.";
  throw new Refused(answer.status === 401 ? "This page’s token is no longer valid: open the link that the server printed." : says, answer.status);
}

export async function get<T>(path: string): Promise<T> {
  return (await ask(path)).json();
}

export async function post<T>(path: string, body: unknown = undefined): Promise<T> {
  const init: RequestInit = { method: "POST" };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "Content-Type": "application/json" };
  }
  return (await ask(path, init)).json();
}

export async function identify(image: Blob): Promise<Identified> {
  const headers = { "Content-Type": "application/octet-stream" };
  return (await ask("identify", { method: "POST", body: image, headers })).json();
}

/** What the server packs: the length of a JSON text, the text, then numbers. */
export async function packed<A>(path: string): Promise<{ about: A; data: ArrayBuffer }> {
  const buffer = await (await ask(path)).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))) as A;
  return { about, data: buffer.slice(4 + length) };
}

export function pictureOf(id: string, size: 96 | 160 | 320 | 640 = 160): string {
  return `/api/pictures/${encodeURIComponent(id)}?size=${size}`;
}
