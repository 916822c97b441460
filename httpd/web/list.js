// list: a user's files, or their trash: search, order, pages, and what can be done with each.
import {dialog, h, replace, say} from "./dom.js";
import {fileAddress, kindOf, nameOf, show, shownName} from "./player.js";
import {address, ask, base, facts, may, refresh} from "./session.js";
import {date, duration, number, size, t} from "./strings.js";

const LIMIT = 24;
const ORDERS = [
  ["newest", "time", "desc"], ["oldest", "time", "asc"], ["nameUp", "name", "asc"], ["nameDown", "name", "desc"],
  ["largest", "size", "desc"], ["smallest", "size", "asc"],
];
const SMALL_PICTURE = 512 * 1024;
const HOUR = 3600, DAY = 24 * HOUR;
const SPANS = [["hour", HOUR], ["day", DAY], ["week", 7 * DAY], ["month", 30 * DAY], ["year", 365 * DAY]];
const durations = new Map(); // by path, so that a list that is drawn again asks nothing

/** How long films are is asked for as they come into view, a few at a time. */
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watcher.unobserve(entry.target);
    waiting.push(entry.target.querySelector(".duration"));
  }
  askDurations();
}, {rootMargin: "100px"});
const waiting = [];
let asking = 0;

async function askDurations() {
  while (asking < 3 && waiting.length > 0) {
    const element = waiting.shift(), path = element.dataset.path;
    asking++;
    fetch(address("info", path), {credentials: "omit"})
      .then((answer) => (answer.ok ? answer.json() : {}))
      .then((info) => {
        durations.set(path, typeof info.duration === "number" ? info.duration : null);
        if (typeof info.duration === "number") element.textContent = duration(info.duration);
      })
      .catch(() => {})
      .finally(() => {
        asking--;
        askDurations();
      });
  }
}

function durationOf(file) {
  const element = h("span", {class: "duration"});
  if (!["video", "audio"].includes(kindOf(file)) || file.state === "deleted" || facts.media === null) return element;
  if (durations.has(file.path)) element.textContent = durations.get(file.path) === null ? "" : duration(durations.get(file.path));
  else element.dataset.path = file.path;
  return element;
}

function posterOf(file) {
  const kind = kindOf(file), extension = /\.(\w{1,5})$/.exec(nameOf(file));
  const frame = h("span", {class: `poster ${kind}`, "data-kind": extension ? extension[1].toUpperCase() : ""});
  if (file.state === "deleted" || facts.media === null) return frame;
  const url = kind === "video" || kind === "audio" ? address("poster", file.path, "/poster.jpg?w=320")
    : kind === "image" && file.size <= SMALL_PICTURE ? fileAddress(file) : null;
  if (url) frame.append(h("img", {src: url, alt: "", loading: "lazy", onerror: (event) => event.target.remove()}));
  return frame;
}

async function shareDialog(file) {
  await dialog(t("shareTitle", {name: shownName(file)}), (close) => {
    const spans = SPANS.filter(([, seconds]) => facts.share_max === 0 || seconds <= facts.share_max);
    const ends = facts.share_max > 0; // else everybody may read, and links do not end
    const span = h("select", {}, (spans.length > 0 ? spans : [["hour", Math.min(HOUR, facts.share_max)]])
      .map(([key, seconds]) => h("option", {value: String(seconds), selected: key === "day"}, t(key))));
    const place = h("div", {"aria-live": "polite"});
    const make = async () => {
      try {
        const link = await ask("POST", `/files${file.path}/link${ends ? `?expires=${span.value}` : ""}`);
        const url = h("input", {type: "text", readonly: true, value: location.origin + base + link.path, onfocus: (event) => event.target.select()});
        replace(place, h("label", {}, t("link"), url), h("p", {class: "hint"}, link.expires ? t("linkUntil", {date: date(link.expires)}) : t("linkForever")),
          h("button", {type: "button", class: "copy", onclick: async () => {
            url.select();
            try { await navigator.clipboard.writeText(url.value); } catch { document.execCommand("copy"); } // no clipboard outside of https
            say(t("copied"));
          }}, t("copy")));
        url.focus();
      } catch (error) {
        replace(place, h("p", {role: "alert"}, error.message || t("noServer")));
      }
    };
    return [h("p", {}, t("shareHelp")), ends && h("label", {}, `${t("validFor")} `, span), place, h("div", {class: "buttons"},
      h("button", {type: "button", class: "primary", onclick: make}, t("makeLink")),
      h("button", {type: "button", onclick: () => close()}, t("close")))].filter(Boolean);
  });
}

function confirmRemoval(file) {
  return dialog(t("removeAsk", {name: shownName(file)}), (close) => [h("p", {}, t("removeHelp")), h("div", {class: "buttons"},
    h("button", {type: "button", class: "danger", onclick: () => close(true)}, t("remove")),
    h("button", {type: "button", autofocus: true, onclick: () => close(false)}, t("cancel")))]);
}

export class List {
  /** STATE: stored or deleted. FAILED(error) is called with what the API refuses. */
  constructor(state, failed) {
    Object.assign(this, {state, failed, query: "", order: 0, cursors: [""], page: 0, next: null});
    this.items = h("ul", {class: "files", id: "list", tabindex: "-1", "aria-label": t(state === "stored" ? "files" : "trash")});
    this.sum = h("p", {class: "sum", role: "status"});
    this.quota = h("p", {class: "sum", hidden: true});
    this.pager = h("nav", {class: "pager", "aria-label": t("pages")});
    this.element = h("section", {}, this.toolbar(), this.sum, this.quota, this.items, this.pager);
  }

  toolbar() {
    const search = h("input", {type: "search", placeholder: t("search"), "aria-label": t("search"), autocomplete: "off", spellcheck: "false", maxlength: "200"});
    search.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.restart({query: search.value.trim()}), 250);
    });
    const order = h("select", {"aria-label": t("sortBy"), onchange: () => this.restart({order: order.selectedIndex})},
      ORDERS.map(([key]) => h("option", {}, t(key))));
    return h("div", {class: "toolbar", role: "search"}, search, order);
  }

  restart(changes) {
    Object.assign(this, changes, {cursors: [""], page: 0});
    return this.load();
  }

  async load() {
    const [, sort, order] = ORDERS[this.order];
    const query = new URLSearchParams({state: this.state, sort, order, limit: String(LIMIT)});
    if (this.query) query.set("q", this.query);
    if (this.cursors[this.page]) query.set("after", this.cursors[this.page]);
    this.pending?.abort();
    const pending = (this.pending = new AbortController());
    this.items.setAttribute("aria-busy", "true");
    try {
      await refresh();
      const answer = await ask("GET", `/files${facts.path}?${query}`, pending.signal);
      if (answer.files.length === 0 && this.page > 0) { // the last of a page went
        this.page--;
        return this.load();
      }
      this.draw(answer);
      this.askQuota();
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    }
    if (this.pending === pending) this.items.removeAttribute("aria-busy");
  }

  draw(answer) {
    this.next = answer.next;
    if (answer.next) this.cursors[this.page + 1] = answer.next;
    const empty = this.query ? t("nothingFound", {query: this.query}) : t(this.state === "stored" ? "noFiles" : "noTrash");
    this.sum.textContent = answer.files.length === 0 ? empty
      : answer.matched === null ? "" : t("count", {count: number(answer.matched), size: size(answer.bytes)});
    replace(this.items, answer.files.map((file) => this.row(file)));
    const turn = (by) => async () => {
      this.page += by;
      await this.load();
      scrollTo(0, 0);
      this.items.focus();
    };
    replace(this.pager, (this.page > 0 || this.next) && [
      h("button", {type: "button", disabled: this.page === 0, onclick: turn(-1)}, t("previous")),
      h("span", {}, t("page", {page: this.page + 1})),
      h("button", {type: "button", disabled: !this.next, onclick: turn(1)}, t("next"))]);
  }

  /** Shown where there is a limit; without an answer there is nothing to show. */
  async askQuota() {
    const quota = await ask("GET", `/quota${facts.path}`).catch(() => ({bytes: null}));
    this.quota.hidden = quota.bytes === null || this.state !== "stored";
    if (this.quota.hidden) return;
    const text = t("quota", {used: size(quota.bytes_used), all: size(quota.bytes)});
    replace(this.quota, h("meter", {max: Math.max(quota.bytes, 1), value: quota.bytes_used, "aria-label": text}), ` ${text}`);
  }

  row(file) {
    const name = shownName(file), stored = this.state === "stored", kind = kindOf(file);
    const playable = stored && kind !== "other" && facts.media !== null;
    const title = playable
      ? h("button", {type: "button", class: "name", "aria-label": t(kind === "image" ? "show" : "play", {name}), onclick: () => show(file)}, posterOf(file), h("bdi", {class: "title"}, name))
      : h("span", {class: "name"}, posterOf(file), h("bdi", {class: "title"}, name));
    const when = stored ? date(file.created) : t("deletedOn", {date: date(file.deleted)});
    const act = (key, action, extra = "") => h("button", {type: "button", class: extra, "aria-label": `${t(key)}: ${name}`, onclick: action}, t(key));
    const length = durationOf(file);
    const row = h("li", {}, title,
      h("span", {class: "facts"}, length, h("span", {class: "size"}, size(file.size)), h("time", {datetime: new Date(file.created * 1000).toISOString()}, when),
        file.expires && h("span", {}, t("expiresOn", {date: date(file.expires)}))),
      h("span", {class: "actions", role: "group", "aria-label": t("actionsOf", {name})},
        stored && facts.shares && may("r") && act("share", () => shareDialog(file)),
        stored && facts.media !== null && h("a", {class: "button", href: fileAddress(file, "?download"), download: "", "aria-label": `${t("download")}: ${name}`}, t("download")),
        stored && facts.writes && may("d") && act("remove", () => this.remove(file), "danger"),
        !stored && facts.writes && may("d") && act("restore", () => this.restore(file))));
    if (length.dataset.path) watcher.observe(row);
    return row;
  }

  async change(method, path, done) {
    try {
      await ask(method, path);
      say(done);
      await this.load();
      this.items.focus();
    } catch (error) {
      this.failed(error);
    }
  }

  async remove(file) {
    if (await confirmRemoval(file)) await this.change("DELETE", `/files${file.path}`, t("removed", {name: shownName(file)}));
  }

  restore(file) {
    return this.change("POST", `/files${file.path}/restore`, t("restored", {name: shownName(file)}));
  }
}
