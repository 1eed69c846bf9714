// A score that somebody gives by hand: of a trace, or of the observation that is chosen.

import { tell } from "./asking.js";
import { el } from "./elements.js";

/**
 * `target` tells what is looked at when the score is given: `{trace, chosen}`, the latter an observation.
 * The element, and what to call when the trace is shown with what has come of it.
 */
export function scoring(target) {
  const of = el("select", { name: "of" }, el("option", { value: "trace" }, "the trace"), el("option", { value: "chosen" }, "the chosen observation"));
  const name = el("input", { name: "name", required: true, maxLength: 500, value: "helpful", autocomplete: "off" });
  const value = el("input", { name: "value", required: true, maxLength: 500, placeholder: "1, 0.5, true, good …", autocomplete: "off" });
  const comment = el("input", { name: "comment", maxLength: 10000, placeholder: "why", autocomplete: "off" });
  const said = el("output");
  const form = el(
    "form",
    {},
    el("label", {}, "of ", of),
    el("label", {}, "name ", name),
    el("label", {}, "value ", value),
    el("label", { className: "wide" }, "comment ", comment),
    el("button", { type: "submit" }, "Give score"),
    said,
  );
  const scoresOf = (trace) => JSON.stringify([trace.scores, trace.scoreCount]);
  let before = null; // while a score is on its way: those that there were

  /** That it will show is no news once it does. */
  const shown = (trace) => {
    if (before === null || before === scoresOf(trace)) return;
    before = null;
    said.textContent = "";
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { trace, chosen } = target();
    const there = scoresOf(trace);
    said.textContent = "…";
    try {
      const { omitted } = await tell("api/v1/scores", {
        traceId: trace.id,
        tenant: trace.tenant,
        ...(of.value === "chosen" && chosen ? { observationId: chosen.id } : {}),
        name: name.value,
        value: meant(value.value.trim()),
        ...(comment.value ? { comment: comment.value } : {}),
      });
      said.textContent = omitted ? `Taken, and left out with its trace (${omitted}).` : "Taken: it shows here within seconds, and goes wherever the trace went.";
      value.value = comment.value = "";
      before = omitted ? null : there;
      shown(target().trace);
    } catch (error) {
      before = null;
      said.textContent = error.message;
    }
  });
  return { element: el("details", { className: "scoring" }, el("summary", {}, "Score"), form), shown };
}

/** A number, true or false, or a label. */
function meant(text) {
  if (text === "true" || text === "false") return text === "true";
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}
