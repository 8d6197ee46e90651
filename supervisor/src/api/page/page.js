// What the page shows comes from containers, files and the network: it is only ever set as text, never as markup.
"use strict";

const EVERY = 4000; // ms between two looks, while somebody sees the page
const PATIENCE = 15000; // ms for one answer
const KEPT = "knarrd-token";
const at = (id) => document.getElementById(id);

// ---- words and figures, as knarrctl has them

// Characters that would move or turn what stands beside them are shown as what they are.
const clean = (text) => String(text).replace(
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
  (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");

function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds) || 0);
  const two = (big, b, small, l) => small ? `${big}${b}${small}${l}` : `${big}${b}`;
  if (s < 60) return `${s}s`;
  if (s < 3600) return two(Math.floor(s / 60), "m", s % 60, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "m");
  return two(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
}

function size(bytes) {
  let value = bytes, unit = "";
  for (const next of ["K", "M", "G", "T", "P"]) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return (value >= 100 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, "")) + unit;
}

function memory(i) {
  if (i.memory === null) return "-";
  return i.memory_limit === null ? size(i.memory) : `${size(i.memory)}/${size(i.memory_limit)}`;
}

function moment(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return clean(text);
  const two = (n) => String(n).padStart(2, "0");
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
  if (time.toDateString() === new Date().toDateString()) return clock;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock}`;
}

function tone(i) {
  switch (i.state) {
    case "running": return i.ready ? "good" : "warn";
    case "failed": case "crashloop": case "stuck": case "monitor-lost": return "bad";
    case "backoff": case "waiting": case "creating": case "starting": case "stopping": return "warn";
    default: return "off";
  }
}

// ---- elements

// Only what has changed is touched, so that nothing flickers and a screen reader is not called for nothing.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, names) {
  if (element.className !== names) element.className = names;
}

function make(name, parent, names = "") {
  const element = document.createElement(name);
  if (names) element.className = names;
  parent.append(element);
  return element;
}

function draw(name, parent, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

// ---- what the daemon says

class Refused extends Error {}

let token = null;

async function ask(path) {
  const answer = await fetch(path, {
    headers: { Authorization: `Bearer ${token}` },
    cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (answer.ok) return answer.json();
  const told = await answer.json().catch(() => ({}));
  const text = `${path}: ${answer.status} ${clean(told.message ?? "")}`;
  throw answer.status === 401 ? new Refused(text) : new Error(text);
}

// ---- one row an instance

const COLUMNS = [
  ["State", "state"], ["Ready", ""], ["Since", "figure"], ["Restarts", "figure"], ["Last exit", "figure"],
  ["PID", "figure"], ["Memory", "figure"], ["Detail", "detail"],
];
const rows = new Map();
// Names whose explanation is open. They are in the address, too, so that a reload shows the same.
const opened = new Set();

class Row {
  constructor(name) {
    this.name = name;
    this.line = document.createElement("tr");
    this.line.setAttribute("role", "row");
    const head = make("th", this.line);
    head.setAttribute("scope", "row");
    head.setAttribute("role", "rowheader");
    this.button = make("button", head, "name id");
    this.button.type = "button";
    this.button.textContent = clean(name);
    this.button.setAttribute("aria-expanded", "false");
    this.button.addEventListener("click", () => this.toggle());
    this.texts = COLUMNS.map(([label, names]) => {
      const cell = make("td", this.line, names);
      cell.setAttribute("role", "cell");
      cell.dataset.label = label;
      return make("span", cell);
    });
    this.usage = draw("svg", this.texts[6].parentElement, { class: "usage", "aria-hidden": "true" });
    this.used = draw("rect", this.usage, { height: "100%", width: "0" });
    this.why = null;
  }

  show(i) {
    this.status = i;
    const ready = i.state === "running" ? (i.ready ? "yes" : "no") : "-";
    const texts = [
      i.state, ready, duration(i.seconds), String(i.restarts), String(i.last_exit ?? "-"), String(i.pid ?? "-"),
      memory(i), i.detail || i.reason || "-",
    ];
    texts.forEach((text, n) => {
      say(this.texts[n], clean(text));
      this.texts[n].parentElement.classList.toggle("none", text === "-");
    });
    mark(this.texts[0], tone(i));
    mark(this.texts[1], ready === "no" ? "warn" : "");
    const share = i.memory !== null && i.memory_limit ? Math.min(1, i.memory / i.memory_limit) : null;
    this.usage.toggleAttribute("hidden", share === null);
    this.usage.classList.toggle("full", share > 0.9);
    this.used.setAttribute("width", `${((share ?? 0) * 100).toFixed(1)}%`);
  }

  open() {
    this.why = new Why(this);
    this.line.after(this.why.line);
    this.button.setAttribute("aria-expanded", "true");
    this.line.classList.add("open");
  }

  close() {
    this.why.line.remove();
    this.why = null;
    this.button.setAttribute("aria-expanded", "false");
    this.line.classList.remove("open");
  }

  toggle() {
    if (this.why) {
      this.close();
      opened.delete(this.name);
    } else {
      this.open();
      opened.add(this.name);
      this.why.refresh().catch(fail);
    }
    address();
  }

  remove() {
    this.line.remove();
    this.why?.line.remove();
    rows.delete(this.name);
  }

  hide(hidden) {
    this.line.hidden = hidden;
    if (this.why) this.why.line.hidden = hidden;
  }
}

// ---- what it has used

const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
const GRAPHS = [
  { name: "Memory", of: (s) => s.memory, words: size, limit: (h) => h.memory_max },
  { name: "Processors", of: (s) => s.cpu, words: (v) => v.toFixed(2), limit: () => null },
  { name: "Stalled for memory", of: (s) => s.memory_pressure, words: percent, limit: () => null },
  { name: "Stalled for a processor", of: (s) => s.cpu_pressure, words: percent, limit: () => null },
];
const WIDE = 240, HIGH = 48; // of a drawing; it is stretched to its place

class Graph {
  constructor(parent, kind) {
    this.kind = kind;
    const figure = make("figure", parent);
    this.caption = make("figcaption", figure);
    this.drawing = draw("svg", figure, {
      viewBox: `0 -2 ${WIDE} ${HIGH + 4}`, preserveAspectRatio: "none", role: "img",
    });
    this.limit = draw("path", this.drawing, { class: "limit" });
    this.line = draw("path", this.drawing, { class: "line" });
  }

  show(history) {
    const points = history.samples
      .map((s) => ({ time: Date.parse(s.at) / 1000, run: s.run, value: this.kind.of(s) }))
      .filter((p) => p.value !== null && Number.isFinite(p.time));
    const limit = this.kind.limit(history);
    const most = Math.max(0, ...points.map((p) => p.value));
    const top = Math.max(most, limit ?? 0) || 1;
    const last = points.at(-1);
    this.line.setAttribute("d", last ? this.path(points, history, top) : "");
    const y = HIGH - HIGH * (limit ?? 0) / top;
    this.limit.setAttribute("d", limit === null ? "" : `M0 ${y.toFixed(1)}H${WIDE}`);
    const { name, words } = this.kind;
    const now = last ? `: ${words(last.value)}, at most ${words(most)}` : ": nothing yet";
    say(this.caption, name + now + (limit === null ? "" : `, limit ${words(limit)}`));
    const span = duration(history.every * (history.kept - 1));
    this.drawing.setAttribute("aria-label", `${this.caption.textContent}; the last ${span}`);
  }

  // A line is broken where a run ended, and where samples are missing.
  path(points, history, top) {
    const end = points.at(-1).time, span = history.every * (history.kept - 1);
    let before = null, text = "";
    for (const p of points) {
      const x = Math.max(0, WIDE - WIDE * (end - p.time) / span).toFixed(1);
      const y = (HIGH - HIGH * p.value / top).toFixed(1);
      const joined = before && before.run === p.run && p.time - before.time < 2.5 * history.every;
      // A sample that stands alone is a dot.
      text += joined ? `L${x} ${y}` : `M${x} ${y}h.1`;
      before = p;
    }
    return text;
  }
}

// ---- why it is so

class Why {
  constructor(row) {
    this.row = row;
    this.line = document.createElement("tr");
    this.line.className = "why";
    this.line.setAttribute("role", "row");
    const cell = make("td", this.line);
    cell.colSpan = COLUMNS.length + 1;
    cell.setAttribute("role", "cell");
    const box = make("div", cell, "box");
    this.summary = make("p", box, "summary");
    this.chain = make("ol", box);
    this.chain.setAttribute("aria-label", `Events of ${row.name}, oldest first`);
    this.next = make("p", box);
    this.used = make("div", box, "used");
    this.graphs = GRAPHS.map((kind) => new Graph(this.used, kind));
    this.shown = "";
  }

  async refresh() {
    const name = encodeURIComponent(this.row.name);
    const [why, histories] = await Promise.all([ask(`/v1/explain/${name}`), ask(`/v1/services/${name}/history`)]);
    say(this.summary, clean(why.summary.startsWith(why.name) ? why.summary : `${why.name}: ${why.summary}`));
    say(this.next, why.next ? `next: ${clean(why.next)}` : "");
    const history = histories[0];
    this.used.hidden = !history?.samples.length;
    if (history) for (const graph of this.graphs) graph.show(history);
    const seen = why.chain.map((e) => e.seq).join();
    if (seen === this.shown) return;
    this.shown = seen;
    this.chain.replaceChildren();
    for (const event of why.chain) this.add(event, why.name);
  }

  add(event, name) {
    const item = make("li", this.chain);
    const time = make("time", item);
    time.dateTime = event.at;
    time.textContent = moment(event.at);
    const about = event.instance ?? event.service;
    const text = make("span", item, { error: "bad", warning: "warn" }[event.severity] ?? "");
    text.textContent = clean(about && about !== name ? `${about}: ${event.text}` : event.text);
    if (event.severity !== "info") {
      const word = document.createElement("span");
      word.className = "unseen";
      word.textContent = `${event.severity}: `;
      text.prepend(word);
    }
  }
}

// ---- the whole page

function counts(all) {
  const by = new Map();
  for (const i of all) by.set(i.state, (by.get(i.state) ?? 0) + 1);
  const unready = all.filter((i) => i.state === "running" && !i.ready).length;
  const also = (state) => state === "running" && unready ? ` (${unready} not ready)` : "";
  const words = [...by].map(([state, n]) => `${n} ${clean(state)}${also(state)}`);
  const noun = all.length === 1 ? "instance" : "instances";
  return `${all.length} ${noun}${words.length ? ": " : ""}${words.join(", ")}`;
}

function show(all) {
  const body = at("rows");
  const names = new Set(all.map((i) => i.instance));
  for (const row of [...rows.values()]) if (!names.has(row.name)) row.remove();
  let last = null;
  for (const i of all) {
    let row = rows.get(i.instance);
    if (!row) {
      row = new Row(i.instance);
      rows.set(i.instance, row);
      if (last) last.after(row.line); else body.prepend(row.line);
    }
    row.show(i);
    if (opened.has(row.name) && !row.why) row.open();
    last = row.why ? row.why.line : row.line;
  }
  say(at("counts"), counts(all));
  const bad = all.filter((i) => tone(i) === "bad").length;
  document.title = bad ? `(${bad}) knarrd` : "knarrd";
  filter();
}

function filter() {
  const words = at("words").value.trim().toLowerCase().split(/\s+/);
  const unwell = at("unwell").checked;
  let seen = 0;
  for (const row of rows.values()) {
    const text = `${row.name} ${row.status.state}`.toLowerCase();
    const wanted = words.every((w) => text.includes(w)) && !(unwell && tone(row.status) === "good");
    row.hide(!wanted);
    seen += wanted ? 1 : 0;
  }
  at("nothing").hidden = seen > 0;
  say(at("nothing"), rows.size ? "None of them is so." : "No service file asks for an instance.");
}

let timer = null;

async function refresh() {
  clearTimeout(timer);
  timer = null;
  const asked = token;
  try {
    const [version, all] = await Promise.all([ask("/v1/version"), ask("/v1/instances")]);
    if (token !== asked) return;
    say(at("daemon"), clean(`version ${version.version}, runtime ${version.runtime}, process ${version.pid}`));
    open(true);
    show(all);
    for (const row of rows.values()) if (row.why) await row.why.refresh();
    say(at("trouble"), "");
  } catch (error) {
    if (token !== asked) return;
    fail(error);
  }
  if (token !== null && timer === null && !document.hidden) timer = setTimeout(refresh, EVERY);
}

function fail(error) {
  if (error instanceof Refused) {
    forget();
    say(at("trouble"), "That is not the token of this daemon.");
  } else {
    const text = error.name === "TimeoutError" ? `no answer within ${PATIENCE / 1000} s` : error.message;
    say(at("trouble"), clean(`What is shown may be old: ${text}`));
  }
}

function open(known) {
  at("door").hidden = known;
  at("overview").hidden = !known;
  at("forget").hidden = !known;
}

function forget() {
  token = null;
  sessionStorage.removeItem(KEPT);
  clearTimeout(timer);
  timer = null;
  for (const row of [...rows.values()]) row.remove();
  say(at("daemon"), "");
  say(at("trouble"), "");
  document.title = "knarrd";
  open(false);
  at("token").focus();
}

function enter(text) {
  // A header can have nothing else.
  if (!/^[\x21-\x7e]+$/.test(text)) return fail(new Refused());
  token = text;
  sessionStorage.setItem(KEPT, text);
  refresh();
}

// A link can bring the token behind its #: that part is sent to nobody, and the token is taken out of the address at once.
function fromLink() {
  const parts = new URLSearchParams(location.hash.slice(1));
  for (const name of (parts.get("show") ?? "").split(",")) if (name) opened.add(name);
  address();
  return parts.get("token");
}

function address() {
  const names = [...opened].map(encodeURIComponent).join(",");
  history.replaceState(null, "", location.pathname + (names && `#show=${names}`));
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("token").value.trim();
  at("token").value = "";
  enter(text);
});
at("forget").addEventListener("click", forget);
at("words").addEventListener("input", filter);
at("unwell").addEventListener("change", filter);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && token !== null) refresh();
});
addEventListener("hashchange", () => {
  const text = fromLink();
  if (text !== null) enter(text);
  else if (token !== null) refresh();
});

const given = fromLink() ?? sessionStorage.getItem(KEPT);
if (given === null) open(false); else enter(given);
