// Finding a name by the beginnings of its words: "gl bu" finds Globigerina bulloides.

const MOST_SUGGESTIONS = 8;

export interface Suggestion {
  name: string;
  note: string;
}

/** Whether each typed word begins a word of the name, in this order. */
export function matches(name: string, typed: string[]): boolean {
  const words = name.toLowerCase().split(/[\s_-]+/);
  let from = 0;
  return typed.every((start) => {
    const found = words.findIndex((word, i) => i >= from && word.startsWith(start));
    from = found + 1;
    return found >= 0;
  });
}

/** The names that fit a text, an exact one first; at the end the text itself, if it is new. */
export function suggestions(
  text: string,
  names: string[],
  synonyms: Record<string, string>,
): Suggestion[] {
  const typed = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!typed.length) return [];
  const found = names.filter((name) => matches(name, typed)).map((name) => ({ name, note: "" }));
  for (const [synonym, name] of Object.entries(synonyms)) {
    if (matches(synonym, typed) && !found.some((one) => one.name === name))
      found.push({ name, note: `accepted name of ${synonym}` });
  }
  const whole = text.trim().replace(/\s+/g, " ");
  const exact = found.findIndex((one) => one.name.toLowerCase() === whole.toLowerCase());
  if (exact > 0) found.unshift(...found.splice(exact, 1));
  const shown = found.slice(0, MOST_SUGGESTIONS);
  if (exact < 0 && whole.length > 1 && !/[<>|]/.test(whole))
    shown.push({ name: whole, note: "a new name" });
  return shown;
}
