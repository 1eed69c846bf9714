// Inputs and outputs: chat messages as a chat, all else as text or JSON.

import { el } from "./elements.js";

export function section(title, value, show) {
  const empty = value === null || value === undefined || (typeof value === "object" && !Object.keys(value).length);
  return empty ? [] : [el("h3", {}, title), show(value)].flat();
}

export function pairs(object) {
  if (typeof object !== "object" || Array.isArray(object)) return content(object);
  return el("dl", {}, Object.entries(object).map(([key, value]) => [el("dt", {}, key), el("dd", {}, written(value))]));
}

const written = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

/** An input or output: chat messages as a chat, with what stands beside them; all else as text or JSON. */
export function content(value) {
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
