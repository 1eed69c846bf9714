// Inputs and outputs: chat messages as a chat, all else as text or JSON.

import { el } from "./elements.js";

export function section(title, value, show) {
  return isNothing(value) || (isObject(value) && !Object.keys(value).length) ? [] : [el("h3", {}, title), show(value)].flat();
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
  if (Array.isArray(value)) return value.length && value.every(isMessage) ? value : null;
  if (Array.isArray(value?.messages)) return messagesOf(value.messages);
  return isMessage(value) ? [value] : null;
}

/** What only has a role, as a user of some program, is no message. */
const isMessage = (value) => Boolean(value?.role) && MESSAGE_KEYS.some((key) => Object.hasOwn(value, key));

function message(each) {
  const { role, name, tool_call_id: id, reasoning_content: thoughts, content: spoken, parts, tool_calls: calls, ...rest } = each;
  const about = ABOUT_MESSAGES.filter((key) => isWord(rest[key]));
  const beside = Object.entries(rest).filter(([key, value]) => !isNothing(value) && !about.includes(key));
  return el(
    "div",
    { className: "message", data: { role: written(role) } },
    el("div", { className: "role" }, words([role, name, id, ...about.map((key) => `${key}: ${rest[key]}`)])),
    listed(thoughts).map(thought),
    [...listed(spoken), ...listed(parts)].map(part),
    listed(calls).map(call),
    beside.length > 0 && pairs(Object.fromEntries(beside)),
  );
}

// As otel_bridge/message_parts.py has them, for the terminal: the first that is there counts.
const MESSAGE_KEYS = ["content", "parts", "tool_calls", "reasoning_content"];
const ABOUT_MESSAGES = ["type", "status", "finish_reason"];
const MAX_WORD = 50;
const CALL_KINDS = ["tool_call", "tool_use", "tool-call", "toolUse", "server_tool_call"];
const RESULT_KINDS = ["tool_call_response", "tool_result", "tool-result", "server_tool_call_response"];
const THOUGHT_KINDS = ["reasoning", "thinking"];
const TEXTS = ["text", "content", "thinking", "reasoning"];
const TOOL_NAMES = ["name", "tool_name", "toolName"];
const CALL_IDS = ["tool_use_id", "tool_call_id", "toolCallId", "toolUseId", "call_id", "id"];
const ARGUMENTS = ["arguments", "args", "input", "parameters", "tool_kwargs", "server_tool_call"];
const ANSWERS = ["response", "result", "content", "output", "server_tool_call_response"];

const listed = (value) => [value ?? []].flat();
const isNothing = (value) => (value ?? null) === null || value === "" || (Array.isArray(value) && !value.length);
const isWord = (value) => typeof value === "string" && value !== "" && value.length <= MAX_WORD && !/\p{C}/u.test(value);
const isObject = (value) => typeof value === "object" && value !== null;
const words = (each) => each.filter(Boolean).map(written).join(" · ");

/** What an object holds under the first of these keys that it has. */
const said = (object, keys) => object[keys.find((key) => (object[key] ?? null) !== null)];

function part(each) {
  if (each === null || each === undefined || each === "") return null;
  if (!isObject(each)) return el("p", { className: "text" }, written(each));
  const spoken = each[TEXTS.find((key) => each[key])];
  if (CALL_KINDS.includes(each.type)) return call(each);
  if (RESULT_KINDS.includes(each.type)) {
    return called(["result", said(each, TOOL_NAMES), said(each, CALL_IDS)], said(each, ANSWERS) ?? each);
  }
  if (THOUGHT_KINDS.includes(each.type)) return thought(spoken ?? each);
  return typeof spoken === "string" ? el("p", { className: "text" }, spoken) : el("pre", { className: "text" }, written(each));
}

const thought = (value) => el("p", { className: "text thinking" }, written(value));

/** A tool that was offered, closed until somebody wants its schema. */
function tool(each) {
  const what = isObject(each?.function) ? each.function : each;
  return el(
    "details",
    { className: "call" },
    el("summary", {}, el("b", {}, written(what?.name || "tool")), ` ${written(what?.description ?? "")}`),
    el("pre", { className: "text" }, written(what?.parameters ?? what?.input_schema ?? each)),
  );
}

function call(each) {
  if (!isObject(each)) return called(["call"], each);
  const what = isObject(each.function) ? each.function : each;
  return called(["call", said(what, TOOL_NAMES), said(each, CALL_IDS)], said(what, ARGUMENTS));
}

function called(about, value) {
  return el(
    "div",
    { className: "call" },
    el("div", { className: "role" }, words(about)),
    (value ?? null) === null ? null : el("pre", { className: "text" }, written(value)),
  );
}
