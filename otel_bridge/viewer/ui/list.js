// The list of traces.

import { listHash, ofTenant, sessionHash, traceHash } from "./addresses.js";
import { ask, repeat } from "./asking.js";
import { dot, stateTag } from "./marks.js";
import { ago, cost, count, duration, el, everywhere } from "./elements.js";

const view = document.getElementById("view");
const filter = document.getElementById("filter");

const COLUMNS = [
  ["Name", null, ""],
  ["Started", "start", ""],
  ["Duration", "duration", "number"],
  ["Tokens", "tokens", "number"],
  ["Cost", "cost", "number"],
  ["Errors", "errors", "number"],
  ["Session", null, ""],
];

export function showList(parameters) {
  const asked = { filter: parameters.get("filter") ?? "", sort: parameters.get("sort") ?? "-start" };
  filter.value = asked.filter;
  document.title = "otel-bridge";
  const rows = el("tbody");
  const more = el("button", { className: "more", hidden: true, type: "button" }, "Show more");
  const nothing = el("div", { className: "empty", hidden: true }, asked.filter ? noMatch() : noTraces());
  const sorting = document.activeElement?.dataset.sort; // by key: one may want to turn the order round
  view.replaceChildren(
    el("table", { className: "traces" }, el("thead", {}, el("tr", {}, COLUMNS.map((column) => heading(column, asked)))), rows),
    nothing,
    more,
  );
  view.querySelector(`[data-sort="${sorting}"]`)?.focus();
  let { pages = 1, scrolled = 0, opened = null } = history.state ?? {};
  const draw = drawing(rows);
  const refresh = async () => {
    const traces = [];
    let cursor = null;
    for (let page = 0; page < pages; page += 1) {
      const query = new URLSearchParams({ ...asked, ...(cursor ? { cursor } : {}) });
      const answer = await ask(`api/v1/traces?${query}`);
      traces.push(...answer.traces);
      cursor = answer.nextCursor;
      if (!cursor) break;
    }
    more.hidden = !cursor;
    draw(traces);
    nothing.hidden = traces.length > 0;
    if (scrolled) view.scrollTop = scrolled;
    if (opened) [...rows.querySelectorAll("a")].find((link) => link.hash === opened)?.focus({ preventScroll: true });
    scrolled = 0;
    opened = null;
  };
  /** The way back leads here again, to the link that was followed. */
  const leave = (link) => history.replaceState({ pages, scrolled: view.scrollTop, opened: link?.hash }, "");
  rows.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (link) leave(link);
  });
  more.addEventListener("click", () => {
    pages += 1;
    leave();
    repeat(refresh);
  });
  repeat(refresh);
}

function heading([label, sort, className], asked) {
  if (!sort) return el("th", { className }, label);
  const descending = asked.sort === `-${sort}`;
  const arrow = descending ? " ↓" : asked.sort === sort ? " ↑" : "";
  const button = el("button", { type: "button", data: { sort } }, label + arrow);
  button.addEventListener("click", () => {
    location.hash = listHash({ filter: asked.filter, sort: descending ? sort : `-${sort}` });
  });
  return el("th", { className, ariaSort: descending ? "descending" : arrow ? "ascending" : "none" }, button);
}

/** Draws traces as rows of a table; what has not changed stays, and so do the focus and what is marked. */
function drawing(table) {
  let drawn = new Map();
  return (traces) => {
    const before = drawn;
    drawn = new Map();
    for (const trace of traces) {
      const key = `${trace.id} ${trace.tenant}`;
      const said = JSON.stringify(trace);
      const known = before.get(key);
      drawn.set(key, known?.said === said ? known : { said, trace, row: traceRow(trace) });
    }
    const focused = document.activeElement;
    const links = (row) => [...row.querySelectorAll("a")];
    const left = [...before].find(([, { row }]) => row.contains(focused));
    let next = table.firstChild;
    for (const { row, trace } of drawn.values()) {
      row.querySelector("time").textContent = ago(trace.startTime);
      if (row === next) next = next.nextSibling;
      else table.insertBefore(row, next);
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
    if (left && document.activeElement !== focused) {
      const [key, { row }] = left;
      links(drawn.get(key)?.row ?? table)[links(row).indexOf(focused)]?.focus();
    }
  };
}

function traceRow(trace) {
  const link = el("a", { href: traceHash(trace) }, trace.name || trace.id);
  const whose = ofTenant(trace) && el("span", { className: "tag", title: "tenant" }, trace.tenant);
  const session = trace.sessionId && el("a", { href: sessionHash(trace) }, trace.sessionId);
  return el(
    "tr",
    {},
    el("td", { className: "name", title: trace.name ?? "" }, dot(trace), link, stateTag(trace), whose),
    el("td", {}, el("time", { dateTime: trace.startTime, title: everywhere(trace.startTime) })),
    el("td", { className: "number" }, duration(trace.durationMs)),
    el("td", { className: "number" }, count(trace.totalTokens)),
    el("td", { className: "number" }, cost(trace.totalCost)),
    el("td", { className: "number error" }, trace.errorCount ? count(trace.errorCount) : ""),
    el("td", { className: "session" }, session),
  );
}

const noMatch = () => [
  el("h1", {}, "No trace matches this filter"),
  el("p", {}, "Fields: name, session, user, status, duration, tokens, cost, errors, model, type, tag, age, start (a day of UTC, or a time), metadata.KEY."),
];

const noTraces = () => [
  el("h1", {}, "No traces yet"),
  el("p", {}, "Run an agent with its OpenTelemetry exporter pointed at this bridge, or try the demo:"),
  el("pre", {}, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 python agent.py\notel-bridge demo"),
];
