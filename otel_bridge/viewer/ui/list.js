// The list of traces.

import { listHash, ofTenant, sessionHash, traceHash } from "./addresses.js";
import { ask, repeat } from "./asking.js";
import { ago, cost, count, duration, el } from "./elements.js";

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
  const nothing = el("div", { className: "empty", hidden: true });
  view.replaceChildren(
    el("table", { className: "traces" }, el("thead", {}, el("tr", {}, COLUMNS.map((column) => heading(column, asked)))), rows),
    nothing,
    more,
  );
  let pages = 1;
  let shown = "";
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
    const now = JSON.stringify(traces) + Math.floor(Date.now() / 30000);
    if (now !== shown) {
      shown = now;
      rows.replaceChildren(...traces.map(traceRow));
      nothing.hidden = traces.length > 0;
      nothing.replaceChildren(...(asked.filter ? noMatch() : noTraces()));
    }
  };
  more.addEventListener("click", () => {
    pages += 1;
    repeat(refresh);
  });
  repeat(refresh);
}

function heading([label, sort, className], asked) {
  if (!sort) return el("th", { className }, label);
  const descending = asked.sort === `-${sort}`;
  const arrow = descending ? " ↓" : asked.sort === sort ? " ↑" : "";
  const button = el("button", { type: "button" }, label + arrow);
  button.addEventListener("click", () => {
    location.hash = listHash({ filter: asked.filter, sort: descending ? sort : `-${sort}` });
  });
  return el("th", { className }, button);
}

function traceRow(trace) {
  const dot = el("span", { className: "dot", title: trace.status, data: { status: trace.status } });
  const link = el("a", { href: traceHash(trace) }, trace.name || trace.id);
  const whose = ofTenant(trace) && el("span", { className: "tag", title: "tenant" }, trace.tenant);
  const session = trace.sessionId && el("a", { href: sessionHash(trace) }, trace.sessionId);
  return el(
    "tr",
    {},
    el("td", { className: "name", title: trace.name ?? "" }, dot, link, whose && [" ", whose]),
    el("td", { title: trace.startTime }, ago(trace.startTime)),
    el("td", { className: "number" }, duration(trace.durationMs)),
    el("td", { className: "number" }, count(trace.totalTokens)),
    el("td", { className: "number" }, cost(trace.totalCost)),
    el("td", { className: "number error" }, trace.errorCount ? count(trace.errorCount) : ""),
    el("td", { className: "session" }, session),
  );
}

const noMatch = () => [
  el("h1", {}, "No trace matches this filter"),
  el("p", {}, "Fields: name, session, user, status, duration, tokens, cost, errors, model, type, tag, age, metadata.KEY."),
];

const noTraces = () => [
  el("h1", {}, "No traces yet"),
  el("p", {}, "Run an agent with its OpenTelemetry exporter pointed at this bridge, or try the demo:"),
  el("pre", {}, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 python agent.py\notel-bridge demo"),
];
