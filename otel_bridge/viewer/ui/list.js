// The list of traces.

import { listHash, ofTenant, sessionHash, traceHash } from "./addresses.js";
import { ask } from "./asking.js";
import { dot, stateTag } from "./marks.js";
import { cost, count, duration, el, timeOf } from "./elements.js";
import { paged } from "./paged.js";

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
  const sorting = document.activeElement?.dataset.sort; // by key: one may want to turn the order round
  view.replaceChildren(
    el("table", { className: "traces" }, el("thead", {}, el("tr", {}, COLUMNS.map((column) => heading(column, asked)))), rows),
    ...paged(rows, {
      ask: async (where) => {
        const { traces, nextCursor } = await ask(`api/v1/traces?${new URLSearchParams({ ...asked, ...where })}`);
        return { rows: traces, nextCursor };
      },
      key: (trace) => `${trace.id} ${trace.tenant}`,
      draw: traceRow,
      nothing: asked.filter ? noMatch : noTraces,
    }),
  );
  view.querySelector(`[data-sort="${sorting}"]`)?.focus();
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

function traceRow(trace) {
  const link = el("a", { href: traceHash(trace) }, trace.name || trace.id);
  const whose = ofTenant(trace) && el("span", { className: "tag", title: "tenant" }, trace.tenant);
  const session = trace.sessionId && el("a", { href: sessionHash(trace) }, trace.sessionId);
  return el(
    "tr",
    {},
    el("td", { className: "name", title: trace.name ?? "" }, dot(trace), link, stateTag(trace), whose),
    el("td", {}, timeOf(trace.startTime)),
    el("td", { className: "number" }, duration(trace.durationMs)),
    el("td", { className: "number" }, count(trace.totalTokens)),
    el("td", { className: "number" }, cost(trace.totalCost)),
    el("td", { className: "number error" }, trace.errorCount ? count(trace.errorCount) : ""),
    el("td", { className: "session" }, session),
  );
}

/** All fields that there are (query/filter.py), those that are asked for most in front. */
const FIELDS =
  "name, status, duration, start (a day of UTC, or a time), age, session, user, tokens, cost, errors, model, type, tag, level, score, observation, observations, " +
  "environment (or env), release, version, tenant, id (or trace), metadata.KEY, resource.KEY";

const noMatch = () => [el("h1", {}, "No trace matches this filter"), el("p", {}, `There are the fields ${FIELDS}.`)];

async function noTraces() {
  const settings = pointedAt((await ask("api/v1/status")).endpoints);
  const words = "Or any agent that has OpenTelemetry set up (where it has to show a key or a certificate, `otel-bridge` prints how):";
  return [
    el("h1", {}, "No traces yet"),
    el("p", {}, "Run a Python agent as it is:"),
    el("pre", {}, "otel-bridge run -- python agent.py"),
    ...(settings ? [el("p", {}, words), el("pre", {}, `${settings}\npython agent.py`)] : []),
    el("p", {}, "Or try the demo:"),
    el("pre", {}, "otel-bridge demo"),
  ];
}

/** What has an agent on this machine send to where the bridge listens; nothing where it takes no OTLP. */
function pointedAt(endpoints) {
  const named = (name) => Object.values(endpoints).find((addresses) => addresses[name])?.[name];
  const address = named("http") ?? named("grpc");
  if (!address) return null;
  const here = address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
  // Some SDKs of OpenTelemetry send gRPC unless the protocol is said, also to the port of HTTP, and others the reverse.
  return `export OTEL_EXPORTER_OTLP_ENDPOINT=${here}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=${named("http") ? "http/protobuf" : "grpc"}`;
}
