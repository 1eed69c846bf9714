// The page: which view its address asks for.

import { listHash } from "./addresses.js";
import { report, stop } from "./asking.js";
import { notFound } from "./elements.js";
import { showList } from "./list.js";
import { showTrace } from "./trace.js";

const view = document.getElementById("view");
const filter = document.getElementById("filter");

function route() {
  const hash = location.hash || "#/";
  const [, id, chosen, query] = hash.match(/^#\/t\/([0-9a-f]{1,64}|last)(?:\/([0-9a-f]{1,64}))?(\?.*)?$/i) ?? [];
  if (id) showTrace(id.toLowerCase(), chosen?.toLowerCase(), new URLSearchParams(query ?? "").get("tenant"));
  else if (/^#\/?(\?|$)/.test(hash)) showList(new URLSearchParams(hash.split("?")[1] ?? ""));
  else {
    stop();
    report(null);
    document.title = "otel-bridge";
    view.replaceChildren(notFound("There is no such page", hash));
  }
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const { sort } = Object.fromEntries(new URLSearchParams(location.hash.match(/^#\/?\?(.*)$/)?.[1]));
  location.hash = listHash({ filter: filter.value, ...(sort ? { sort } : {}) });
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target === filter) return;
  event.preventDefault();
  filter.focus();
});
window.addEventListener("hashchange", route);
route();
