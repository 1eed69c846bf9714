// The tree of a trace beside the time it took: its rows, and which of them are closed over what is below them.

import { duration, el, microseconds } from "./elements.js";

const MAX_INDENT = 24;

export class Tree {
  rows = new Map(); // by the ids of their observations, in their order
  #closed = new Set();
  #above = new Map(); // id → that of the row which it is below
  #holding = new Set(); // that have others below

  draw(trace) {
    this.#above = new Map();
    const path = [];
    for (const { id, depth } of trace.observations) {
      path.length = Math.min(depth, path.length);
      this.#above.set(id, path.at(-1));
      path.push(id);
    }
    this.#holding = new Set(this.#above.values());
    this.rows = treeRows(trace, this.#holding);
    this.#show();
  }

  /** The ids of the rows that can be seen. */
  shown = () => [...this.rows.keys()].filter((id) => !this.rows.get(id).hidden);
  above = (id) => this.#above.get(id);
  isOpen = (id) => this.#holding.has(id) && !this.#closed.has(id);
  isClosed = (id) => this.#holding.has(id) && this.#closed.has(id);

  /** Whether a row is below another, however far. */
  isWithin(id, other) {
    for (let above = this.above(id); above; above = this.above(above)) if (above === other) return true;
    return false;
  }

  close(id) {
    this.#closed.add(id);
    this.#show();
  }

  open(id) {
    this.#closed.delete(id);
    this.#show();
  }

  /** Open all that a row is below. */
  reveal(id) {
    let changed = false;
    for (let above = this.above(id); above; above = this.above(above)) changed = this.#closed.delete(above) || changed;
    if (changed) this.#show();
  }

  #show() {
    for (const [id, row] of this.rows) {
      const above = this.above(id);
      row.hidden = Boolean(above) && (this.rows.get(above).hidden || this.#closed.has(above));
      if (this.#holding.has(id)) row.ariaExpanded = String(!this.#closed.has(id));
    }
  }
}

function treeRows(trace, holding) {
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
        el("span", { className: holding.has(each.id) ? "fold" : "leaf", ariaHidden: "true" }),
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
