// The page: which view its address asks for.

import { listHash } from "./addresses.js";
import { answered, report, stop, tell } from "./asking.js";
import { notFound } from "./elements.js";
import { showList } from "./list.js";
import { showSession, showSessions } from "./sessions.js";
import { showTrace } from "./trace.js";

const view = document.getElementById("view");
const filter = document.getElementById("filter");
const logout = document.getElementById("logout");
const places = document.querySelectorAll("nav a");

function route() {
  const hash = location.hash || "#/";
  const parameters = new URLSearchParams(hash.split("?")[1] ?? "");
  const session = hash.match(/^#\/s\/([^?]+)/)?.[1];
  const [, id, chosen] = hash.match(/^#\/t\/([0-9a-f]{1,64}|last)(?:\/([0-9a-f]{1,64}))?(?:\?.*)?$/i) ?? [];
  const within = session || /^#\/sessions(\?|$)/.test(hash) ? "#/sessions" : "#/";
  for (const link of places) link.ariaCurrent = link.hash === within ? "page" : null;
  if (id) showTrace(id.toLowerCase(), chosen?.toLowerCase(), parameters.get("tenant"));
  else if (session) showSession(decoded(session), parameters.get("tenant"));
  else if (/^#\/sessions(\?|$)/.test(hash)) showSessions(parameters);
  else if (/^#\/?(\?|$)/.test(hash)) showList(parameters);
  else {
    stop();
    report(null);
    document.title = "otel-bridge";
    view.replaceChildren(notFound("There is no such page", hash));
  }
}

/** What somebody typed may be no encoding: then it is what it looks like. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const { sort } = Object.fromEntries(new URLSearchParams(location.hash.match(/^#\/?\?(.*)$/)?.[1]));
  location.hash = listHash({ filter: filter.value, ...(sort ? { sort } : {}) });
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  event.preventDefault();
  filter.focus();
});
logout.addEventListener("click", async () => {
  try {
    await tell("api/v1/login", undefined, "DELETE");
    location.reload();
  } catch (error) {
    report(error);
  }
});
answered("api/v1/login").then(
  ({ loggedIn }) => (logout.hidden = !loggedIn),
  () => {}, // the view says it
);
window.addEventListener("hashchange", route);
route();
