import { api, body } from "./api";
import { store } from "./store.svelte";

/** Make a new morphotype of some specimens. */
export async function makeMorphotype(specimens: string[]): Promise<void> {
  try {
    const request = { reviewer: store.reviewer, specimens, morphotype: null };
    const made = await body(api.POST("/api/morphotypes/move", { body: request }));
    store.apply({});
    store.notify(`Morphotype ${made.number} of ${specimens.length} specimens`);
  } catch (error) {
    store.fail(error);
  }
}
