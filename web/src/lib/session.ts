// The session of this browser. Besides a cookie it has a key, which this page keeps where pages of
// other ports of the host cannot read it, and sends with each request.
const KEY = "forametric-key";
const HEADER = "X-Forametric-Key";

/** The path of this page; a server of several projects has one for each. */
export const BASE = location.pathname.replace(/[^/]*$/, "").replace(/\/$/, "");

/** Keep the key that the server has put behind the # of the address at the log-in. */
export function takeKey(): void {
  const found = /^#key=([\w-]+)$/.exec(location.hash);
  if (!found) return;
  localStorage.setItem(KEY, found[1]);
  history.replaceState(null, "", location.pathname);
}

/** What each request to the server carries. */
export function sessionHeaders(): Record<string, string> {
  const key = localStorage.getItem(KEY);
  return key ? { [HEADER]: key } : {};
}

/** Forget the key at the log-out. */
export function forgetKey(): void {
  localStorage.removeItem(KEY);
}

/** The address of the log-in page, which leads back here. */
export const LOG_IN = `/login?next=${encodeURIComponent(`${BASE}/`)}`;
