// One trace: its summary, its tree beside the time it took, and the observation that was chosen.

import { filterHash, ofTenant, sessionHash, traceHash } from "./addresses.js";
import { LIST_EVERY_MS, ask, repeat, report } from "./asking.js";
import { ago, cost, count, duration, el, everywhere, moment, notFound } from "./elements.js";
import { dot, stateTag } from "./marks.js";
import { observationDetail, scoreTag } from "./observation.js";
import { scoring } from "./scoring.js";
import { Tree } from "./tree.js";

const OPEN_EVERY_MS = 2000;
const SETTLED_EVERY_MS = 10000;
const MAX_ROWS = 20000;

const view = document.getElementById("view");
const filter = document.getElementById("filter");

export function showTrace(id, chosen, tenant) {
  filter.value = "";
  const summary = el("section", { className: "summary" });
  const tree = el("section", { className: "tree", tabIndex: 0, role: "tree", ariaLabel: "Observations" });
  const detail = el("section", { className: "detail", ariaLabel: "Observation" });
  const unfinished = el("p", { className: "unfinished", hidden: true });
  const score = scoring(() => ({ trace, chosen: trace.observations.find((each) => each.id === chosen) }));
  const article = el("article", { className: "trace" }, el("div", { className: "above" }, summary, unfinished, score.element), tree, detail);
  document.title = "otel-bridge";
  view.replaceChildren();
  let shown = "";
  let detailShown = "";
  let trace = null;
  const drawn = new Tree();

  const showDetail = async () => {
    if (!chosen || !drawn.rows.has(chosen)) return;
    const asked = chosen;
    const query = new URLSearchParams({ tenant: trace.tenant });
    const observation = await ask(`api/v1/traces/${trace.id}/observations/${encodeURIComponent(asked)}?${query}`);
    const scores = trace.scores.filter((score) => score.observationId === asked);
    const now = JSON.stringify([observation, scores]);
    if (asked !== chosen || now === detailShown) return;
    detailShown = now;
    detail.replaceChildren(...observationDetail(observation, scores));
  };

  /** The tree has the focus, whichever of its rows is chosen. */
  const mark = () => {
    for (const row of tree.querySelectorAll(".chosen")) {
      row.classList.remove("chosen");
      row.ariaSelected = "false";
    }
    const row = drawn.rows.get(chosen);
    row?.classList.add("chosen");
    if (row) row.ariaSelected = "true";
    tree.setAttribute("aria-activedescendant", row?.id ?? "");
  };

  const choose = (next) => {
    if (!next || next === chosen) return;
    chosen = next;
    detailShown = "";
    detail.scrollTop = 0;
    drawn.reveal(chosen);
    mark();
    drawn.rows.get(chosen).scrollIntoView({ block: "nearest" });
    history.replaceState(null, "", traceHash(trace, chosen));
    showDetail().catch((error) => error.name === "AbortError" || report(error));
  };

  /** What was chosen within what is closed can not be seen any more. */
  const close = (id) => {
    drawn.close(id);
    if (drawn.isWithin(chosen, id)) choose(id);
  };

  tree.addEventListener("click", (event) => {
    const id = event.target.closest(".row")?.dataset.id;
    if (!event.target.closest(".fold")) choose(id);
    else if (drawn.isClosed(id)) drawn.open(id);
    else close(id);
  });
  tree.addEventListener("keydown", (event) => {
    const ids = drawn.shown();
    const at = ids.indexOf(chosen);
    const all = [...drawn.rows.keys()];
    const failed = (from) => all.slice(from).find((each) => drawn.rows.get(each).classList.contains("failed"));
    const next = {
      ArrowRight: () => (drawn.isClosed(chosen) ? drawn.open(chosen) : drawn.isOpen(chosen) && ids[at + 1]),
      ArrowLeft: () => (drawn.isOpen(chosen) ? drawn.close(chosen) : drawn.above(chosen)),
      ArrowDown: () => ids[at + 1],
      j: () => ids[at + 1],
      ArrowUp: () => ids[at - 1],
      k: () => ids[at - 1],
      Home: () => ids[0],
      End: () => ids.at(-1),
      e: () => failed(all.indexOf(chosen) + 1) ?? failed(0),
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
      score.shown(trace);
      const first = drawn.rows.size === 0;
      drawn.draw(trace);
      if (!drawn.rows.has(chosen)) chosen = trace.observations[0]?.id;
      drawn.reveal(chosen);
      tree.replaceChildren(...drawn.rows.values());
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
      trace.links.filter(({ url }) => /^https?:\/\//.test(url)).map(({ exporter, url }) => el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, `open in ${exporter}`)),
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
