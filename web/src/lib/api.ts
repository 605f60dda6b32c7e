// Typed access to the server. Paths, parameters and responses are those of its OpenAPI description,
// from which `npm run generate` makes schema.d.ts.
import createClient, { type Client } from "openapi-fetch";
import { unpack, type Unpacked } from "./binary";
import type { components, paths } from "./schema";
import { BASE, sessionHeaders } from "./session";

type Schemas = components["schemas"];
export type Account = Schemas["Account"];
export type Abundance = Schemas["Abundance"];
export type Agreement = Schemas["Agreement"];
export type Candidate = Schemas["Candidate"];
export type CheckFindings = Schemas["CheckFindings"];
export type Decision = Schemas["DecisionIn"];
export type Finding = Schemas["Finding"];
export type Identification = Schemas["Identification"];
export type ModelSummary = Schemas["ModelSummary"];
export type Morphotype = Schemas["Morphotype"];
export type Progress = Schemas["Progress"];
export type Project = Schemas["Project"];
export type Role = Schemas["Role"];
export type QueuedSpecimen = Schemas["QueuedSpecimen"];
export type Samples = Schemas["Samples"];
export type SheetLayout = Schemas["SheetLayout"];
export type SimilarSpecimen = Schemas["SimilarSpecimen"];
export type Specimen = Schemas["Specimen"];
export type Status = Schemas["Status"];
export type Verdict = Schemas["Verdict"];

/** The status of an answer to somebody who is not logged in. */
export const LOGGED_OUT = 401;

/** The server refused a request; the message says why. */
export class RequestError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** The server does not respond. */
export class ConnectionError extends Error {}

/** A client whose requests throw a `RequestError` or a `ConnectionError` when they fail. */
export function createApi(baseUrl: string): Client<paths> {
  const client = createClient<paths>({ baseUrl, cache: "no-store" });
  client.use({
    onRequest({ request }) {
      for (const [name, value] of Object.entries(sessionHeaders()))
        request.headers.set(name, value);
      return request;
    },
    async onResponse({ response }) {
      if (!response.ok) throw new RequestError(await reasonOf(response), response.status);
    },
    onError: () => new ConnectionError("The server does not respond."),
  });
  return client;
}

async function reasonOf(response: Response): Promise<string> {
  if (response.status === LOGGED_OUT) return "You are not logged in any more.";
  try {
    const { detail } = (await response.json()) as { detail?: unknown };
    return typeof detail === "string" ? detail : "The server did not accept the request.";
  } catch {
    return response.statusText;
  }
}

export const api = createApi(BASE);

/** The body of a response; a failed request has thrown before. */
export async function body<T>(request: Promise<{ data?: T }>): Promise<T> {
  return (await request).data as T;
}

/** The header and the numbers of a binary response. */
export async function unpacked<Header>(
  request: Promise<{ data?: ArrayBuffer }>,
): Promise<Unpacked<Header>> {
  return unpack<Header>(await body(request));
}

/** Identify an image that is not part of the collection. */
export function identify(image: Blob): Promise<Identification> {
  return body(
    api.POST("/api/identifications", {
      body: "", // the description knows binary bodies only as text
      bodySerializer: () => image,
      headers: { "Content-Type": "application/octet-stream" },
    }),
  );
}

/** A file that the server makes, and its name. */
export async function download(path: string): Promise<{ content: Blob; name: string }> {
  const response = await fetch(BASE + path, { headers: sessionHeaders(), cache: "no-store" }).catch(
    () => {
      throw new ConnectionError("The server does not respond.");
    },
  );
  if (!response.ok) throw new RequestError(await reasonOf(response), response.status);
  const disposition = response.headers.get("Content-Disposition") ?? "";
  const [, name = ""] = /filename\*?=(?:utf-8'')?"?([^";]+)/i.exec(disposition) ?? [];
  return { content: await response.blob(), name: decodeURIComponent(name) };
}

export type ImageSize = 96 | 160 | 320 | 640;

/** The address of a specimen's image. */
export function imageUrl(id: string, size: ImageSize = 160): string {
  return `${BASE}/api/image?specimen=${encodeURIComponent(id)}&size=${size}`;
}
