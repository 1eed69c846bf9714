// The page: a list of traces, and one trace with its tree and messages.
// What a trace holds only ever becomes text (textContent): nothing here writes HTML.

const LIST_EVERY_MS = 3000;
const OPEN_EVERY_MS = 2000;
const SETTLED_EVERY_MS = 10000;
const MAX_ROWS = 20000;
const MAX_INDENT = 24;
const DEFAULT_TENANT = "default";

const view = document.getElementById("view");
const filter = document.getElementById("filter");
const live = document.getElementById("live");
const problem = document.getElementById("problem");

// ---- elements

/** An element with properties (`data` and `style` as objects) and children: nodes or text. */
function el(tag, properties = {}, ...children) {
  const { data = {}, style = {}, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, data);
  Object.assign(node.style, style);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return node;
}

const text = (value) => document.createTextNode(String(value));

// ---- words for people

function duration(ms) {
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
}

function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (seconds < 0 || seconds > 86400 * 6) return new Date(iso).toLocaleString();
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

const count = (number) => (number === null || number === undefined ? "" : number.toLocaleString("en-US"));

function cost(dollars) {
  if (dollars === null || dollars === undefined) return "";
  if (dollars === 0 || dollars >= 1) return `$${dollars.toFixed(2)}`;
  return dollars < 0.0001 ? "<$0.0001" : `$${Number(dollars.toPrecision(2))}`;
}

const microseconds = (iso) => Date.parse(`${iso.slice(0, 23)}Z`) + Number(iso.slice(23, 26)) / 1000;

// ---- asking

let asking = new AbortController();

/** The bridge answered, and refused: `status` is HTTP's, the message the bridge's own. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path) {
  const response = await fetch(path, { signal: asking.signal, headers: { Accept: "application/json" } });
  const said = await response.text();
  if (response.ok) return JSON.parse(said);
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  throw new Refusal(response.status, (isJson && JSON.parse(said).error) || `The bridge answered ${response.status}.`);
}

/** fetch throws a TypeError where nothing answers: only then is the page not connected. */
function report(error) {
  const unanswered = error instanceof TypeError;
  live.className = unanswered ? "off" : "";
  live.textContent = unanswered ? "not connected" : "live";
  problem.hidden = !error;
  problem.textContent = unanswered ? "The bridge does not answer; trying again." : (error?.message ?? "");
}

let timer = 0;

/** Stop asking for the view that was open before. */
function stop() {
  asking.abort();
  asking = new AbortController();
  clearTimeout(timer);
}

/** Do `work` now and again `after` it says, until another view opens; it is not done while nobody looks. */
async function repeat(work) {
  stop();
  const mine = asking;
  const turn = async () => {
    let wait = LIST_EVERY_MS;
    try {
      if (!document.hidden) {
        wait = (await work()) ?? wait;
        if (mine === asking) report(null);
      }
    } catch (error) {
      if (mine !== asking) return;
      report(error);
      if (error.status === 400) return; // the same question would be refused again
    }
    if (mine === asking) timer = setTimeout(turn, wait);
  };
  await turn();
}

// ---- the list

const COLUMNS = [
  ["Name", null, ""],
  ["Started", "start", ""],
  ["Duration", "duration", "number"],
  ["Tokens", "tokens", "number"],
  ["Cost", "cost", "number"],
  ["Errors", "errors", "number"],
  ["Session", null, ""],
];

const listHash = (parameters) => `#/?${new URLSearchParams(parameters)}`;
const quoted = (value) => `"${value.replace(/[\\"]/g, "\\$&")}"`;
const ofTenant = (trace) => trace.tenant !== DEFAULT_TENANT || trace.otherTenants?.length > 0;

/** The session of a trace; others may use its id as well. */
const sessionHash = (trace) =>
  listHash({ filter: `session:${quoted(trace.sessionId)}${ofTenant(trace) ? ` tenant:${quoted(trace.tenant)}` : ""}` });

/** Whose a trace is stands in its address where there are tenants: several may have one of its id. */
function traceHash(trace, chosen) {
  const query = ofTenant(trace) ? `?${new URLSearchParams({ tenant: trace.tenant })}` : "";
  return `#/t/${trace.id}${chosen ? `/${chosen}` : ""}${query}`;
}

function showList(parameters) {
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

const notFound = (title, words) =>
  el("div", { className: "empty" }, el("h1", {}, title), el("p", {}, words), el("p", {}, el("a", { href: "#/" }, "All traces")));

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

// ---- one trace

function showTrace(id, chosen, tenant) {
  filter.value = "";
  const summary = el("section", { className: "summary" });
  const tree = el("section", { className: "tree", tabIndex: 0, role: "tree", ariaLabel: "Observations" });
  const detail = el("section", { className: "detail", ariaLabel: "Observation" });
  const article = el("article", { className: "trace" }, summary, tree, detail);
  document.title = "otel-bridge";
  view.replaceChildren();
  let shown = "";
  let detailShown = "";
  let trace = null;
  let rows = new Map();

  const showDetail = async () => {
    if (!chosen || !rows.has(chosen)) return;
    const asked = chosen;
    const query = new URLSearchParams({ tenant: trace.tenant });
    const observation = await ask(`api/v1/traces/${trace.id}/observations/${encodeURIComponent(asked)}?${query}`);
    const now = JSON.stringify(observation);
    if (asked !== chosen || now === detailShown) return;
    detailShown = now;
    const scores = trace.scores.filter((score) => score.observationId === asked);
    detail.replaceChildren(...observationDetail(observation, scores));
  };

  const choose = (next) => {
    if (!next || next === chosen) return;
    rows.get(chosen)?.classList.remove("chosen");
    chosen = next;
    detailShown = "";
    detail.scrollTop = 0;
    rows.get(chosen).classList.add("chosen");
    rows.get(chosen).scrollIntoView({ block: "nearest" });
    history.replaceState(null, "", traceHash(trace, chosen));
    showDetail().catch((error) => error.name === "AbortError" || report(error));
  };

  tree.addEventListener("click", (event) => choose(event.target.closest(".row")?.dataset.id));
  tree.addEventListener("keydown", (event) => {
    const ids = [...rows.keys()];
    const at = ids.indexOf(chosen);
    const failed = (from) => ids.slice(from).find((each) => rows.get(each).classList.contains("failed"));
    const next = {
      ArrowDown: () => ids[at + 1],
      j: () => ids[at + 1],
      ArrowUp: () => ids[at - 1],
      k: () => ids[at - 1],
      Home: () => ids[0],
      End: () => ids.at(-1),
      e: () => failed(at + 1) ?? failed(0),
    }[event.key];
    if (!next || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    choose(next());
  });

  repeat(async () => {
    try {
      trace = await wholeTrace(id, tenant);
    } catch (error) {
      if (error.status !== 404) throw error;
      view.replaceChildren(notFound("There is no such trace", `Nothing is stored under ${id}${tenant ? ` of the tenant ${tenant}` : ""}. If it is on its way, it will show here.`));
      return LIST_EVERY_MS;
    }
    if (!article.isConnected) view.replaceChildren(article);
    const now = JSON.stringify(trace);
    if (now !== shown) {
      shown = now;
      document.title = `${trace.name || trace.id} · otel-bridge`;
      summary.replaceChildren(...traceSummary(trace));
      const first = rows.size === 0;
      rows = treeRows(trace);
      if (!rows.has(chosen)) chosen = trace.observations[0]?.id;
      rows.get(chosen)?.classList.add("chosen");
      tree.replaceChildren(...rows.values());
      if (trace.nextCursor) tree.append(el("p", { className: "quiet" }, `Only the first ${MAX_ROWS} are shown.`));
      if (first) tree.focus();
      await showDetail();
    }
    return trace.settled ? SETTLED_EVERY_MS : OPEN_EVERY_MS;
  });
}

async function wholeTrace(id, tenant) {
  const whose = tenant ? `?${new URLSearchParams({ tenant })}` : "";
  const trace = await ask(`api/v1/traces/${encodeURIComponent(id)}${whose}`);
  while (trace.nextCursor && trace.observations.length < MAX_ROWS) {
    const query = new URLSearchParams({ cursor: trace.nextCursor, tenant: trace.tenant });
    const page = await ask(`api/v1/traces/${trace.id}?${query}`);
    trace.observations.push(...page.observations);
    trace.nextCursor = page.nextCursor;
  }
  return trace;
}

function traceSummary(trace) {
  const fact = (value, unit) => value && el("span", {}, el("b", {}, value), ` ${unit}`);
  return [
    el("span", { className: "dot", title: trace.status, data: { status: trace.status } }),
    el("h1", {}, trace.name || trace.id),
    trace.settled ? text("") : el("span", { className: "tag" }, notKept(trace) || "open"),
    el(
      "div",
      { className: "facts" },
      el("span", {}, el("b", {}, duration(trace.durationMs))),
      fact(count(trace.observationCount), "observations"),
      fact(count(trace.totalTokens), "tokens"),
      fact(cost(trace.totalCost), ""),
      trace.errorCount ? el("span", { className: "error" }, `${trace.errorCount} error${trace.errorCount > 1 ? "s" : ""}`) : "",
      trace.sessionId && el("span", {}, "session ", el("a", { href: sessionHash(trace) }, trace.sessionId)),
      ofTenant(trace) && el("span", {}, `tenant ${trace.tenant}`),
      trace.otherTenants.length > 0 && el("span", { className: "others" }, "the same id: ", trace.otherTenants.map((other) => [el("a", { href: traceHash({ ...trace, tenant: other }) }, other), " "])),
      trace.userId && el("span", {}, `user ${trace.userId}`),
      el("span", { title: trace.startTime }, new Date(trace.startTime).toLocaleString()),
      trace.tags.map((tag) => el("span", { className: "tag" }, String(tag))),
      trace.scores.filter((score) => !score.observationId).map(scoreTag),
      el("span", { className: "mono" }, trace.id),
    ),
  ];
}

/** That a trace was not kept, and why. */
function notKept(trace) {
  const [decision, ...reason] = (trace.omitted ?? "").split(":");
  return decision && `not kept (${decision === "sampled_out" ? "sampled" : decision}: ${reason.join(":")})`;
}

const scoreTag = (score) =>
  el("span", { className: "tag", title: score.comment ?? "" }, `${score.name} = ${score.value}`);

function treeRows(trace) {
  const times = trace.observations.map((each) => [microseconds(each.startTime), each.durationMs]);
  const begin = times.reduce((least, [start]) => Math.min(least, start), Infinity);
  const end = times.reduce((most, [start, ms]) => Math.max(most, start + ms), -Infinity);
  const whole = Math.max(end - begin, 0.001);
  const scored = new Set(trace.scores.map((score) => score.observationId));
  const rows = trace.observations.map((each, i) => {
    const [start, ms] = times[i];
    const flags = [each.level === "ERROR" ? "failed" : "", each.settled ? "" : "open"];
    const bar = { left: `${(100 * (start - begin)) / whole}%`, width: `${(100 * ms) / whole}%` };
    const row = el(
      "div",
      { className: ["row", ...flags].filter(Boolean).join(" "), role: "treeitem", data: { id: each.id, type: each.type } },
      el(
        "div",
        { className: "label", style: { paddingLeft: `${14 * Math.min(each.depth, MAX_INDENT)}px` } },
        el("span", { className: "badge" }, each.type),
        el("span", { className: "what", title: each.name }, each.name || each.id),
        scored.has(each.id) ? el("span", { className: "quiet", title: "has scores" }, "★") : "",
      ),
      el("span", { className: "took" }, duration(each.durationMs)),
      el("div", { className: "lane" }, el("div", { className: "bar", style: bar })),
    );
    row.ariaLevel = each.depth + 1;
    return [each.id, row];
  });
  return new Map(rows);
}

// ---- one observation

function observationDetail(observation, scores) {
  const facts = [
    duration(observation.durationMs),
    observation.model,
    observation.totalTokens === null ? "" : `${count(observation.totalTokens)} tokens`,
    cost(observation.totalCost),
    observation.promptName && `prompt ${observation.promptName} v${observation.promptVersion ?? "?"}`,
    observation.settled ? "" : observation.omitted ? `left out (${observation.omitted}): shown as it came` : "not settled yet: shown as it came",
  ];
  const plainLevel = observation.level === "DEFAULT" || observation.level === "DEBUG";
  return [
    el("h2", { data: { type: observation.type } }, el("span", { className: "badge" }, observation.type), ` ${observation.name}`),
    el("div", { className: "facts" }, facts.filter(Boolean).map((fact) => el("span", {}, fact)), scores.map(scoreTag)),
    plainLevel ? null : el("p", { className: "failure" }, `${observation.level} ${observation.statusMessage ?? ""}`),
    section("Input", observation.input, content),
    section("Output", observation.output, content),
    section("Usage", observation.usageDetails, pairs),
    section("Cost in US dollars", observation.costDetails, pairs),
    section("Model parameters", observation.modelParameters, pairs),
    section("Metadata", observation.metadata, pairs),
    section(firstOf("Events", observation.events, observation.eventCount), observation.events, occurrences),
    section(firstOf("Logs", observation.logs, observation.logCount), observation.logs, occurrences),
    section("Resource", observation.resource, pairs),
    section("Scope", observation.scope, pairs),
    el("h3", {}, "Id"),
    el("div", { className: "mono" }, observation.id),
  ].flat(Infinity).filter(Boolean);
}

function section(title, value, show) {
  const empty = value === null || value === undefined || (typeof value === "object" && !Object.keys(value).length);
  return empty ? [] : [el("h3", {}, title), show(value)].flat();
}

const occurrences = (each) => each.map(occurrence);
const firstOf = (title, shown, all) => (shown.length < all ? `${title}: the first ${shown.length} of ${count(all)}` : title);


/** An event, many alike, or a log record. */
const occurrence = (each) =>
  el(
    "div",
    { className: "message" },
    el(
      "div",
      { className: "role" },
      [each.name || each.severity || "log", each.time, each.count && `${count(each.count)} until ${each.lastTime}`].filter(Boolean).join(" · "),
    ),
    each.body === null || each.body === undefined ? null : content(each.body),
    Object.keys(each.attributes).length ? pairs(each.attributes) : null,
  );

function pairs(object) {
  if (typeof object !== "object" || Array.isArray(object)) return content(object);
  return el("dl", {}, Object.entries(object).map(([key, value]) => [el("dt", {}, key), el("dd", {}, written(value))]));
}

const written = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

/** An input or output: chat messages as a chat, with what stands beside them; all else as text or JSON. */
function content(value) {
  const messages = messagesOf(value);
  if (messages && value.messages) {
    const { messages: _, tools, ...beside } = value;
    return [messages.map(message), section("Tools offered", tools, (offered) => [offered].flat().map(tool)), section("Beside", beside, pairs)];
  }
  if (messages) return messages.map(message);
  return typeof value === "string" ? el("p", { className: "text" }, value) : el("pre", { className: "text" }, written(value));
}

function messagesOf(value) {
  if (Array.isArray(value)) return value.length && value.every((each) => each?.role) ? value : null;
  if (Array.isArray(value?.messages)) return messagesOf(value.messages);
  return value?.role ? [value] : null;
}

function message(each) {
  const role = String(each.role);
  const about = [role, each.name, each.tool_call_id].filter(Boolean).map(String).join(" · ");
  const parts = each.parts ?? each.content;
  return el(
    "div",
    { className: "message", data: { role } },
    el("div", { className: "role" }, about),
    [parts].flat().map(part),
    [each.tool_calls ?? []].flat().map(call),
  );
}

function part(each) {
  if (each === null || each === undefined || each === "") return null;
  if (typeof each !== "object") return el("p", { className: "text" }, String(each));
  const said = each.text ?? each.content ?? each.thinking;
  switch (each.type) {
    case "tool_call":
    case "tool_use":
      return call(each);
    case "tool_call_response":
    case "tool_result":
      return called(["result", each.name, each.id ?? each.tool_use_id], each.response ?? each.result ?? each.content);
    case "reasoning":
    case "thinking":
      return el("p", { className: "text thinking" }, written(said ?? each));
    default:
      return typeof said === "string" ? el("p", { className: "text" }, said) : el("pre", { className: "text" }, written(each));
  }
}

/** A tool that was offered, closed until somebody wants its schema. */
function tool(each) {
  const what = each?.function ?? each;
  return el(
    "details",
    { className: "call" },
    el("summary", {}, el("b", {}, String(what?.name ?? "tool")), ` ${written(what?.description ?? "")}`),
    el("pre", { className: "text" }, written(what?.parameters ?? what?.input_schema ?? each)),
  );
}

function call(each) {
  const what = each?.function ?? each;
  return called(["call", what?.name, each?.id], what?.arguments ?? what?.args ?? what?.input);
}

function called(words, value) {
  return el(
    "div",
    { className: "call" },
    el("div", { className: "role" }, words.filter(Boolean).map(String).join(" · ")),
    value === null || value === undefined ? null : el("pre", { className: "text" }, written(value)),
  );
}

// ---- where we are

function route() {
  const hash = location.hash || "#/";
  const [, id, chosen, query] = hash.match(/^#\/t\/([0-9a-f]{1,64}|last)(?:\/([0-9a-f]{1,64}))?(\?.*)?$/i) ?? [];
  if (id) showTrace(id.toLowerCase(), chosen?.toLowerCase(), new URLSearchParams(query ?? "").get("tenant"));
  else if (/^#\/?(\?|$)/.test(hash)) showList(new URLSearchParams(hash.split("?")[1] ?? ""));
  else {
    stop();
    report(null);
    document.title = "otel-bridge";
    view.replaceChildren(notFound("There is no such page", hash));
  }
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = listHash({ filter: filter.value });
});
window.addEventListener("hashchange", route);
route();
