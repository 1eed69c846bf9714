// The list of sessions, and one as a conversation: its traces in order, each with what was said to it and its answer.

import { listHash, ofTenant, sessionFilter, sessionHash, traceHash } from "./addresses.js";
import { ask } from "./asking.js";
import { cost, count, duration, el, everywhere, moment, notFoundWords, timeOf } from "./elements.js";
import { dot, stateTag } from "./marks.js";
import { content, section } from "./messages.js";
import { paged } from "./paged.js";

const view = document.getElementById("view");
const filter = document.getElementById("filter");

const COLUMNS = [["Session", ""], ["Last trace", ""], ["Traces", "number"], ["Tokens", "number"], ["Cost", "number"], ["Errors", "number"], ["Users", ""]];

export function showSessions(parameters) {
  filter.value = "";
  document.title = "Sessions · otel-bridge";
  const tenant = parameters.get("tenant");
  const rows = el("tbody");
  view.replaceChildren(
    el("table", { className: "traces sessions" }, el("thead", {}, el("tr", {}, COLUMNS.map(([label, className]) => el("th", { className }, label)))), rows),
    ...paged(rows, {
      ask: async (where) => {
        const { sessions, nextCursor } = await ask(`api/v1/sessions?${new URLSearchParams({ ...(tenant ? { tenant } : {}), ...where })}`);
        return { rows: sessions, nextCursor };
      },
      key: (session) => session.id,
      draw: sessionRow,
      nothing: () => [el("h1", {}, "No sessions yet"), el("p", {}, "A trace belongs to the session that its spans name, as by the attribute session.id.")],
    }),
  );
}

function sessionRow(session) {
  return el(
    "tr",
    {},
    el("td", { className: "name", title: session.id }, el("a", { href: sessionHash({ sessionId: session.id }) }, session.id), tenants(session)),
    el("td", {}, timeOf(session.endTime)),
    el("td", { className: "number" }, count(session.traceCount)),
    el("td", { className: "number" }, count(session.totalTokens)),
    el("td", { className: "number" }, cost(session.totalCost)),
    el("td", { className: "number error" }, session.errorCount ? count(session.errorCount) : ""),
    el("td", { className: "session" }, session.userIds.join(", ")),
  );
}

const tenants = (session) =>
  session.tenants.length > 1 || ofTenant({ tenant: session.tenants[0] }) ? session.tenants.map((tenant) => el("span", { className: "tag", title: "tenant" }, tenant)) : [];

export function showSession(id, tenant) {
  filter.value = "";
  document.title = `${id} · otel-bridge`;
  const whose = tenant ? { tenant } : {};
  const summary = el("section", { className: "summary above" });
  const turns = el("section", { className: "turns", ariaLabel: "Traces in their order" });
  const below = paged(turns, {
    ask: async (where) => {
      try {
        const session = await ask(`api/v1/sessions/${encodeURIComponent(id)}?${new URLSearchParams({ ...whose, sort: "start", turns: "true", ...where })}`);
        summary.replaceChildren(...sessionSummary(session, tenant));
        return { rows: session.traces, nextCursor: session.nextCursor };
      } catch (error) {
        if (error.status !== 404) throw error;
        return { rows: [], nextCursor: null };
      }
    },
    key: (trace) => `${trace.id} ${trace.tenant}`,
    draw: turn,
    nothing: () => notFoundWords("There is no such session", `No trace names ${id}${tenant ? ` of the tenant ${tenant}` : ""}. If one is on its way, it will show here.`),
  });
  view.replaceChildren(el("article", { className: "conversation" }, summary, turns, ...below));
}

function sessionSummary(session, tenant) {
  return [
    el("h1", {}, session.id),
    el(
      "div",
      { className: "facts" },
      el("span", {}, el("b", {}, count(session.traceCount)), session.traceCount === 1 ? " trace" : " traces"),
      el("span", { title: `${everywhere(session.startTime)}\nto ${everywhere(session.endTime)}` }, `${moment(session.startTime)} to ${moment(session.endTime)}`),
      session.totalTokens !== null && el("span", {}, el("b", {}, count(session.totalTokens)), " tokens"),
      session.totalCost !== null && el("span", {}, el("b", {}, cost(session.totalCost))),
      session.errorCount > 0 && el("span", { className: "error" }, `${session.errorCount} error${session.errorCount > 1 ? "s" : ""}`),
      session.userIds.length > 0 && el("span", {}, `${session.userIds.length > 1 ? "users" : "user"} ${session.userIds.join(", ")}`),
      tenants(session),
      el("a", { href: listHash({ filter: sessionFilter(session.id, tenant) }) }, "as a list"),
    ),
  ];
}

/** One trace: who asked, what, and what was answered. */
function turn(trace) {
  const facts = [duration(trace.durationMs), trace.totalTokens !== null && `${count(trace.totalTokens)} tokens`, cost(trace.totalCost), trace.userId];
  return el(
    "article",
    { className: "turn" },
    el(
      "header",
      {},
      dot(trace),
      el("h2", {}, el("a", { href: traceHash(trace) }, trace.name || trace.id)),
      stateTag(trace),
      ofTenant(trace) && el("span", { className: "tag", title: "tenant" }, trace.tenant),
      el("span", { className: "facts" }, timeOf(trace.startTime), facts.filter(Boolean).map((fact) => el("span", {}, fact)), trace.errorCount > 0 && el("span", { className: "error" }, `${trace.errorCount} error${trace.errorCount > 1 ? "s" : ""}`)),
    ),
    section("Input", trace.input, content),
    section("Output", trace.output, content),
  );
}
