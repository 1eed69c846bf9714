// How a trace stands, as lists and summaries mark it.

import { el } from "./elements.js";

/** Its status by colour; for who sees none, and on pointing at it, in a word. */
export const dot = ({ status }) => el("span", { className: "dot", role: "img", ariaLabel: status, title: status, data: { status } });

/** That a trace is open still, or that it was not kept, and why. */
export function stateTag(trace) {
  if (trace.settled) return null;
  const [decision, ...reason] = (trace.omitted ?? "").split(":");
  return el("span", { className: "tag" }, decision ? `not kept (${decision === "sampled_out" ? "sampled" : decision}: ${reason.join(":")})` : "open");
}
