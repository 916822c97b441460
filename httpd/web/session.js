// session: the token that says who we are, and requests with it. The token comes in the fragment of the address, which no server and no
// log sees, and goes in Authorization alone: no cookie, so that a page of somebody else's can do nothing in our name.

const KEY = "reel-token";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Where this server is in the address, "" or such as "/media": a proxy may have it under a path of its own. */
export const base = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

const HOLDS = 3600 * 1000; // less than the server's 12 hours

let token = "";
let opened = 0;
export const facts = {}; // what /api/v1/session says

function stores() {
  const found = [];
  for (const name of ["sessionStorage", "localStorage"]) try { found.push(window[name]); } catch { /* private mode */ }
  return found;
}

/** Takes TEXT, a token or an address with one behind #token=. */
export function takeToken(text, stay = false) {
  const found = /#token=([A-Za-z0-9_-]+)/.exec(text);
  token = found ? found[1] : text.trim();
  const [session, local] = stores();
  (stay && local ? local : session)?.setItem(KEY, token);
}

/** From the address, which then loses it, or from an earlier visit. */
export function findToken() {
  if (location.hash.startsWith("#token=")) {
    takeToken(location.hash);
    history.replaceState(null, "", location.pathname);
    return;
  }
  for (const store of stores()) token ||= store.getItem(KEY) || "";
}

export function forget() {
  token = "";
  for (const store of stores()) store.removeItem(KEY);
  for (const name of Object.keys(facts)) delete facts[name];
}

export const authorization = () => (token ? {Authorization: `Bearer ${token}`} : {});
export const may = (right) => (facts.rights || "").includes(right);
/** Where the bytes of what PATH names are: kind is files, poster, hls, info. */
export const address = (kind, path, rest = "") => `${base}${facts.media}/${kind}${path}${rest}`;

/** A request to the API; its JSON, null for 204. Throws Refused. */
export async function ask(method, path, signal) {
  let answer;
  try {
    answer = await fetch(`${base}/api/v1${path}`, {
      method,
      signal,
      headers: {...authorization(), ...(method === "POST" ? {"Content-Type": "application/json"} : {})},
      body: method === "POST" ? "{}" : undefined,
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "");
  }
  if (answer.status === 204) return null;
  if (answer.ok) return answer.json();
  const body = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, body.message || String(answer.status));
}

/** Who we are. Throws Refused: 401 where nobody is signed in. */
export async function open() {
  Object.assign(facts, await ask("GET", "/session"));
  opened = Date.now();
}

/** The links to pictures and films hold for some hours: a page that is open for longer asks for others. */
export async function refresh() {
  if (Date.now() - opened > HOLDS) await open();
}
