// admin: the state of the whole installation, asked for every two seconds while it is looked at.
import {h, replace} from "./dom.js";
import {ask} from "./session.js";
import {number, size, t} from "./strings.js";

const PERIOD = 2000;

function rate(now, before, pick) {
  const seconds = before ? now.time - before.time : 0;
  return seconds > 0 ? Math.max(0, (pick(now) - pick(before)) / seconds) : 0;
}

function tile(label, value, bad = false) {
  return h("div", {class: bad ? "tile bad" : "tile"}, h("dt", {}, label), h("dd", {}, value));
}

function serverTiles(now, before) {
  const all = (counts) => Object.values(counts.requests).reduce((sum, count) => sum + count, 0);
  const errors = rate(now, before, (counts) => counts.requests["5xx"]);
  return [
    tile(t("uploadsPerSecond"), number(rate(now, before, (counts) => counts.stored))),
    tile(t("uploadsNow"), number(now.uploads)),
    tile(t("received"), size(rate(now, before, (counts) => counts.received_bytes))),
    tile(t("sent"), size(rate(now, before, (counts) => counts.sent_bytes))),
    tile(t("requestsPerSecond"), number(rate(now, before, all))),
    tile(t("errorsPerSecond"), number(errors), errors > 0),
    tile(t("errorsTotal"), number(now.requests["5xx"])),
    tile(t("connections"), number(now.connections)),
    tile(t("refused"), number(now.refused)),
    tile(t("failovers"), number(now.failovers)),
    tile(t("cut"), number(now.cut)),
  ];
}

function memberRow(group, member) {
  const load = member.load || {}, known = member.load !== null && load.capacity > 0;
  const used = known ? `${Math.round(((load.capacity - load.free) / load.capacity) * 100)} %` : "–";
  const state = member.suspect ? "SUSPECT" : member.state, good = state === "ACTIVE";
  const cell = (label, ...content) => h("td", {"data-label": label}, ...content);
  return h("tr", {}, h("th", {scope: "row"}, group.name), cell(t("member"), member.address),
    cell(t("state"), h("span", {class: good ? "state good" : "state bad"}, state), load.state && load.state !== "ready" ? ` ${load.state}` : ""),
    cell(t("version"), member.version), cell(t("used"), used), cell(t("free"), known ? size(load.free) : "–"),
    cell(t("trashSpace"), known ? size(load.trash) : "–"),
    cell(t("damaged"), known ? h("span", {class: load.damaged > 0 ? "state bad" : ""}, number(load.damaged || 0)) : "–"), cell(t("uploadsNow"), known ? number(load.uploads) : "–"),
    cell(t("requestsPerSecond"), known ? number(load.requests) : "–"), cell(t("connections"), known ? number(load.connections) : "–"),
    cell(t("silent"), member.silent_ms >= 0 ? t("secondsAgo", {seconds: number(member.silent_ms / 1000)}) : t("never")));
}

function groupTable(groups) {
  const heads = ["group", "member", "state", "version", "used", "free", "trashSpace", "damaged", "uploadsNow", "requestsPerSecond", "connections", "silent"];
  return h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": t("group")}, h("table", {},
    h("thead", {}, h("tr", {}, heads.map((key) => h("th", {scope: "col"}, t(key))))),
    h("tbody", {}, groups.map((group) => group.storages.map((member) => memberRow(group, member))))));
}

function groupLine(group) {
  return h("li", {}, h("strong", {}, group.name), ` ${group.state}, ${t("active", {active: group.active, all: group.storages.length})}`);
}

/** The view; it goes on until STOPPED() is true. FAILED(error): what the API refuses. */
export function adminView(stopped, failed) {
  const tiles = h("dl", {class: "tiles"}), groups = h("ul", {class: "groups"}), table = h("div"), hint = h("p", {class: "hint"}, t("live"));
  let before = null;
  const turn = async () => {
    if (stopped()) return;
    try {
      const {server, cluster} = await ask("GET", "/status");
      hint.textContent = t("live");
      replace(tiles, serverTiles(server, before));
      replace(groups, cluster.groups.map(groupLine));
      replace(table, groupTable(cluster.groups));
      if (!before || server.time > before.time) before = server;
    } catch (error) {
      if (error.status === 401) return failed(error);
      hint.textContent = error.status === 403 ? t("notOperator") : error.message || t("noServer");
      if (error.status === 403) return;
    }
    setTimeout(turn, document.hidden ? 5 * PERIOD : PERIOD);
  };
  turn();
  return h("section", {class: "admin", id: "list", tabindex: "-1"}, h("h1", {}, t("status")), hint, groups, table, h("h2", {}, t("thisServer")), tiles);
}
