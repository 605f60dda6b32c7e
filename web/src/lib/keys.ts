// Keys that are commands: not while typing or in a dialog, not held down, not a browser's shortcut.
export function command(event: KeyboardEvent): string {
  const busy = (event.target as HTMLElement).closest?.("input:not([type=checkbox]), select, textarea, dialog");
  if (busy || document.querySelector("dialog[open]") || event.repeat) return "";
  if (event.ctrlKey || event.metaKey || event.altKey) return "";
  return event.key.length === 1 ? event.key.toLowerCase() : event.key;
}
