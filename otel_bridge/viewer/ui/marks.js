// How a trace stands, as lists and summaries mark it.

import { el } from "./elements.js";

/** Its status by colour; for who sees none, and on pointing at it, in a word. */
export const dot = ({ status }) => el("span", { className: "dot", role: "img", ariaLabel: status, title: status, data: { status } });

/** That a trace is open still, has settled in part, or was not kept, and why. */
export function stateTag(trace) {
  if (trace.partial) return el("span", { className: "tag", title: "It has settled; something of it has not ended, or has not come" }, "in part");
  if (trace.settled) return null;
  const [decision, ...reason] = (trace.omitted ?? "").split(":");
  return el("span", { className: "tag" }, decision ? `not kept (${decision === "sampled_out" ? "sampled" : decision}: ${reason.join(":")})` : "open");
}
