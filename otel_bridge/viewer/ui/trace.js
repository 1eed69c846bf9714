// One trace: its summary, its tree beside the time it took, and the observation that was chosen.

import { filterHash, ofTenant, sessionHash, traceHash } from "./addresses.js";
import { LIST_EVERY_MS, ask, repeat, report } from "./asking.js";
import { ago, cost, count, duration, el, everywhere, microseconds, moment, notFound } from "./elements.js";
import { dot, stateTag } from "./marks.js";
import { observationDetail, scoreTag } from "./observation.js";
import { scoring } from "./scoring.js";

const OPEN_EVERY_MS = 2000;
const SETTLED_EVERY_MS = 10000;
const MAX_ROWS = 20000;
const MAX_INDENT = 24;

const view = document.getElementById("view");
const filter = document.getElementById("filter");

export function showTrace(id, chosen, tenant) {
  filter.value = "";
  const summary = el("section", { className: "summary" });
  const tree = el("section", { className: "tree", tabIndex: 0, role: "tree", ariaLabel: "Observations" });
  const detail = el("section", { className: "detail", ariaLabel: "Observation" });
  const unfinished = el("p", { className: "unfinished", hidden: true });
  const score = scoring(() => ({ trace, chosen: trace.observations.find((each) => each.id === chosen) }));
  const article = el("article", { className: "trace" }, el("div", { className: "above" }, summary, unfinished, score), tree, detail);
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

  /** The tree has the focus, whichever of its rows is chosen. */
  const mark = () => {
    for (const row of tree.querySelectorAll(".chosen")) {
      row.classList.remove("chosen");
      row.ariaSelected = "false";
    }
    const row = rows.get(chosen);
    row?.classList.add("chosen");
    if (row) row.ariaSelected = "true";
    tree.setAttribute("aria-activedescendant", row?.id ?? "");
  };

  const choose = (next) => {
    if (!next || next === chosen) return;
    chosen = next;
    detailShown = "";
    detail.scrollTop = 0;
    mark();
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
    tellUnfinished(unfinished, trace.unfinished);
    const now = JSON.stringify(trace);
    if (now !== shown) {
      shown = now;
      document.title = `${titleOf(trace)} · otel-bridge`;
      summary.replaceChildren(...traceSummary(trace));
      const first = rows.size === 0;
      rows = treeRows(trace);
      if (!rows.has(chosen)) chosen = trace.observations[0]?.id;
      tree.replaceChildren(...rows.values());
      mark();
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
    dot(trace),
    el("h1", {}, titleOf(trace)),
    stateTag(trace),
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
      trace.userId && el("span", {}, "user ", el("a", { href: filterHash("user", trace.userId) }, trace.userId)),
      el("span", { title: everywhere(trace.startTime) }, moment(trace.startTime)),
      trace.tags.map((tag) => el("a", { className: "tag", href: filterHash("tag", tag) }, tag)),
      trace.scores.filter((score) => !score.observationId).map(scoreTag),
      trace.scoreCount > trace.scores.length && el("span", {}, `the first ${trace.scores.length} of ${count(trace.scoreCount)} scores`),
      el("span", { className: "mono" }, trace.id),
    ),
  ].filter(Boolean);
}

/** Until its root has come, a trace is called as what came first. */
const titleOf = (trace) => trace.name || trace.observations[0]?.name || trace.id;

/** What has not ended, and since when; times go on also where nothing comes. */
function tellUnfinished(where, found) {
  where.hidden = !found;
  const told = found?.lastTime ? `, told of last ${ago(found.lastTime)}` : "";
  const said = found ? `${found.said} (began ${ago(found.since)}${told})` : "";
  if (where.textContent === said) return;
  where.textContent = said;
  where.title = found ? everywhere(found.since) : "";
}

function treeRows(trace) {
  const times = trace.observations.map((each) => [microseconds(each.startTime), each.durationMs]);
  const begin = times.reduce((least, [start]) => Math.min(least, start), Infinity);
  const end = times.reduce((most, [start, ms]) => Math.max(most, start + ms), -Infinity);
  const whole = Math.max(end - begin, 0.001);
  const scored = new Set(trace.scores.map((score) => score.observationId));
  const rows = trace.observations.map((each, i) => {
    const [start, ms] = times[i];
    const flags = [each.level === "ERROR" ? "failed" : "", each.settled ? "" : "came", each.open ? "open" : ""];
    const bar = { left: `${(100 * (start - begin)) / whole}%`, width: `${(100 * ms) / whole}%` };
    const row = el(
      "div",
      { className: ["row", ...flags].filter(Boolean).join(" "), role: "treeitem", id: `row-${each.id}`, ariaSelected: "false", data: { id: each.id, type: each.type } },
      el(
        "div",
        { className: "label", style: { paddingLeft: `${14 * Math.min(each.depth, MAX_INDENT)}px` } },
        el("span", { className: "badge" }, each.type),
        el("span", { className: "what", title: each.name }, each.name || each.id),
        scored.has(each.id) ? el("span", { className: "quiet", title: "has scores" }, "★") : "",
      ),
      el("span", { className: "took", title: each.open ? "It has not ended; so long until it was told of last" : "" }, `${duration(each.durationMs)}${each.open ? " …" : ""}`),
      el("div", { className: "lane" }, el("div", { className: "bar", style: bar })),
    );
    row.ariaLevel = each.depth + 1;
    return [each.id, row];
  });
  return new Map(rows);
}
