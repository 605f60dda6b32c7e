// What the page finds in a browser.
const storage = { getItem: () => null, setItem: () => undefined, removeItem: () => undefined };
for (const [name, value] of Object.entries({ location: { pathname: "/" }, localStorage: storage }))
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
