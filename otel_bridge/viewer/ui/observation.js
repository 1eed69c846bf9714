// One observation with all it holds.

import { cost, count, duration, el } from "./elements.js";
import { content, pairs, section } from "./messages.js";

export function observationDetail(observation, scores) {
  const facts = [
    duration(observation.durationMs),
    observation.model,
    observation.totalTokens === null ? "" : `${count(observation.totalTokens)} tokens`,
    cost(observation.totalCost),
    observation.promptName && `prompt ${observation.promptName} v${observation.promptVersion ?? "?"}`,
    observation.open ? "it has not ended: shown as it was told of last" : observation.settled ? "" : observation.omitted ? `left out (${observation.omitted}): shown as it came` : "not settled yet: shown as it says itself",
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

/** A score; what its judge wrote opens on it. */
export function scoreTag(score) {
  const said = [el("bdi", {}, score.name), " = ", el("bdi", {}, String(score.value))];
  if (!score.comment) return el("span", { className: "tag" }, said);
  return el("details", { className: "score" }, el("summary", { className: "tag" }, said), el("p", { className: "text" }, score.comment));
}
