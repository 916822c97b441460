// tus: one file to /tus (tus 1.0.0), in pieces, so that it goes on at the last durable byte after a pause, a network cut, or in another tab.
import {authorization, base} from "./session.js";
import {t} from "./strings.js";

const VERSION = {"Tus-Resumable": "1.0.0"};
const PIECE = 32 * 1024 * 1024;
const SAMPLE = 64 * 1024;
const PREFIX = "reel-upload:";
const STALL = 30000; // without a byte that goes, after which the connection is given up
const ANSWER = 300000; // behind the last byte: the server may read all of the file once more
const WAITS = [1000, 2000, 4000, 8000, 15000, 30000];

/** FNV-1a, 32 bits: so that two files that merely share name, size and time are not taken for one. */
function hash(bytes, start) {
  let value = start;
  for (const byte of bytes) value = Math.imul(value ^ byte, 16777619) >>> 0;
  return value;
}

async function fingerprint(owner, file) {
  let value = 2166136261;
  for (const at of [0, Math.max(0, file.size - SAMPLE)])
    value = hash(new Uint8Array(await file.slice(at, at + SAMPLE).arrayBuffer()), value);
  return `${PREFIX}${owner}:${[file.name, file.size, file.lastModified, value].map((part) => encodeURIComponent(part)).join(":")}`;
}

const store = {
  get(key) { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* full, or private mode: only this tab goes on */ } },
  remove(key) { try { localStorage.removeItem(key); } catch { /* as above */ } },
};

/** Uploads of OWNER (a path) that were begun in this browser and are not finished: [{key, url, name, size}]. */
export function unfinished(owner) {
  const found = [];
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const key = localStorage.key(i);
      const value = key.startsWith(`${PREFIX}${owner}:`) ? store.get(key) : null;
      if (value && typeof value.url === "string" && value.url.startsWith("/tus/")) found.push({key, ...value});
    }
  } catch { /* private mode */ }
  return found;
}

/** Ends one of them. */
export async function discard(entry) {
  store.remove(entry.key);
  await fetch(base + entry.url, {method: "DELETE", headers: {...VERSION, ...authorization()}, credentials: "omit"}).catch(() => {});
}

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** An XMLHttpRequest, because fetch does not say how far an upload is. Resolves with {status, header()}; status 0: no connection. */
function send(upload, method, url, headers, body) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    upload.request = request;
    request.open(method, base + url);
    for (const [name, value] of Object.entries({...VERSION, ...authorization(), ...headers})) request.setRequestHeader(name, value);
    // A connection that is cut says nothing by itself for minutes.
    let timer = 0;
    const give_up = () => request.abort();
    const wait = (milliseconds) => {
      clearTimeout(timer);
      timer = setTimeout(give_up, milliseconds);
    };
    addEventListener("offline", give_up);
    if (body) request.upload.onprogress = (event) => {
      wait(event.loaded < event.total ? STALL : ANSWER);
      upload.progressed(event.loaded);
    };
    wait(body?.size > 0 ? STALL : ANSWER);
    request.onloadend = () => {
      clearTimeout(timer);
      removeEventListener("offline", give_up);
      upload.request = null;
      resolve({status: request.status, text: request.responseText, header: (name) => request.getResponseHeader(name)});
    };
    request.send(body);
  });
}

/** States: waiting, running, retrying, paused, failed (with .reason), done. CHANGED is called at each change and while bytes go. */
export class Upload {
  constructor(file, owner, changed) {
    Object.assign(this, {file, owner, changed, state: "waiting", offset: 0, sent: 0, reason: "", request: null, url: null});
  }

  set(state, reason = "") {
    this.state = state;
    this.reason = reason;
    this.changed(this);
  }

  progressed(loaded) {
    this.sent = Math.min(this.offset + loaded, this.file.size);
    this.changed(this);
  }

  pause() {
    if (["done", "failed"].includes(this.state)) return;
    this.set("paused");
    this.request?.abort();
    this.wake?.();
  }

  async cancel() {
    this.pause();
    this.cancelled = true;
    if (this.key) await discard({key: this.key, url: this.url || ""});
  }

  /** From wherever it is; resolves when it is done, paused or has failed. */
  async start() {
    if (this.running) return;
    this.running = true;
    this.set("running");
    try {
      await this.work();
    } catch (error) {
      this.set("failed", String(error.message || error));
    }
    this.running = false;
  }

  async work() {
    this.key ||= await fingerprint(this.owner, this.file);
    // Two tabs would take the upload from each other, again and again. Without locks (outside of https) the server's rule holds: the later wins.
    if (!navigator.locks) return this.steps();
    await navigator.locks.request(this.key, {ifAvailable: true}, (lock) => (lock ? this.steps() : this.set("failed", t("elsewhere"))));
  }

  async steps() {
    let failures = 0;
    while (this.state === "running" || this.state === "retrying") {
      const before = this.offset;
      const verdict = await this.step();
      if (this.cancelled || this.state === "paused") return;
      if (verdict === "done") {
        store.remove(this.key);
        this.sent = this.file.size;
        this.set("done");
        return;
      }
      if (verdict === "failed") return;
      if (this.offset > before) failures = 0;
      if (verdict === "again") {
        this.set("retrying");
        await this.rest(WAITS[Math.min(failures++, WAITS.length - 1)]);
        if (this.state === "retrying") this.set("running");
      }
    }
  }

  /** Waits, or less where the network comes back or somebody pauses. */
  rest(milliseconds) {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        removeEventListener("online", end);
        this.wake = null;
        this.known = false; // HEAD says what came of the last piece
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      addEventListener("online", end);
      this.wake = end;
    });
  }

  /** The next request: "" to go on, "again" after a failure that may pass, "done", "failed". */
  async step() {
    if (!this.url) this.url = store.get(this.key)?.url || null;
    if (!this.url) return this.create();
    if (!this.known) return this.look();
    const piece = this.file.slice(this.offset, this.offset + PIECE);
    const answer = await send(this, "PATCH", this.url,
      {"Content-Type": "application/offset+octet-stream", "Upload-Offset": String(this.offset)}, piece);
    this.known = answer.status === 204;
    return this.answered(answer, 204);
  }

  async create() {
    const metadata = [`filename ${base64(this.file.name)}`];
    if (this.file.type) metadata.push(`filetype ${base64(this.file.type)}`);
    const answer = await send(this, "POST", `/tus${this.owner}`,
      {"Upload-Length": String(this.file.size), "Upload-Metadata": metadata.join(",")}, null);
    if (answer.status === 201) {
      const {pathname} = new URL(answer.header("Location"), location.href); // which a proxy may have changed
      this.url = base && pathname.startsWith(`${base}/tus/`) ? pathname.slice(base.length) : pathname;
      store.set(this.key, {url: this.url, name: this.file.name, size: this.file.size});
      this.known = true;
    }
    return this.answered(answer, 201);
  }

  async look() {
    const answer = await send(this, "HEAD", this.url, {}, null);
    if ([404, 410].includes(answer.status)) { // its time is over: from the start
      store.remove(this.key);
      this.url = null;
      this.offset = this.sent = 0;
      return "";
    }
    this.known = answer.status === 200;
    return this.answered(answer, 200);
  }

  answered(answer, expected) {
    if (answer.status === expected) {
      this.offset = Number(answer.header("Upload-Offset") ?? this.offset);
      this.progressed(0);
      return answer.header("X-Reel-File") ? "done" : "";
    }
    if ([404, 410].includes(answer.status) && this.url) return ""; // look() finds out
    if ([0, 408, 409, 423, 429].includes(answer.status) || answer.status >= 500 && answer.status !== 507) return "again";
    const reason = (answer.text || "").match(/^\d+ [^:]*: (.*)$/m);
    this.set("failed", reason ? reason[1] : String(answer.status));
    return "failed";
  }
}
