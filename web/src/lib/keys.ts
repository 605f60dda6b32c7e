const TEXT_FIELDS = "input:not([type=checkbox]), select, textarea, dialog";

/**
 * The command that a key stands for; empty while the user types or a dialog is open, for a key that
 * is held down, and for a shortcut of the browser.
 */
export function command(event: KeyboardEvent): string {
  const isTyping = (event.target as Partial<Element>).closest?.(TEXT_FIELDS);
  if (isTyping || document.querySelector("dialog[open]") || event.repeat) return "";
  if (event.ctrlKey || event.metaKey || event.altKey) return "";
  return event.key.length === 1 ? event.key.toLowerCase() : event.key;
}
