// A list that grows by pages: asked for now and again, and as it was on the way back.

import { repeat } from "./asking.js";
import { ago, el } from "./elements.js";

const view = document.getElementById("view");

/**
 * Fill `into` with what `ask` gives for a cursor: `{rows, nextCursor}`, each row drawn once by `draw` and known by `key`.
 * Gives what stands below it: the button for more, and what `nothing` gives, which is shown where there is nothing else.
 */
export function paged(into, { ask, key, draw, nothing }) {
  const more = el("button", { className: "more", hidden: true, type: "button" }, "Show more");
  const empty = el("div", { className: "empty", hidden: true });
  let { pages = 1, scrolled = 0, opened = null } = history.state ?? {};
  const drawAll = drawing(into, key, draw);
  const refresh = async () => {
    const rows = [];
    let cursor = null;
    for (let page = 0; page < pages; page += 1) {
      const answer = await ask(cursor ? { cursor } : {});
      rows.push(...answer.rows);
      cursor = answer.nextCursor;
      if (!cursor) break;
    }
    more.hidden = !cursor;
    drawAll(rows);
    if (!rows.length && !empty.hasChildNodes()) empty.replaceChildren(...(await nothing()));
    empty.hidden = rows.length > 0;
    if (scrolled) view.scrollTop = scrolled;
    if (opened) [...into.querySelectorAll("a")].find((link) => link.hash === opened)?.focus({ preventScroll: true });
    scrolled = 0;
    opened = null;
  };
  /** The way back leads here again, to the link that was followed. */
  const leave = (link) => history.replaceState({ pages, scrolled: view.scrollTop, opened: link?.hash }, "");
  into.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (link) leave(link);
    else if (getSelection().isCollapsed) follow(event, event);
  });
  into.addEventListener("auxclick", (event) => {
    if (event.button === 1) follow(event, { ctrlKey: true, metaKey: true, bubbles: true, cancelable: true });
  });
  into.addEventListener("mousedown", (event) => {
    if (event.button === 1 && !event.target.closest("a") && rowLink(event)) event.preventDefault(); // it would scroll
  });
  more.addEventListener("click", () => {
    pages += 1;
    leave();
    repeat(refresh);
  });
  repeat(refresh);
  return [empty, more];
}

/** A row of a table leads, all of it, to where the first link in it does. */
const rowLink = (event) => event.target.closest("tr")?.querySelector("a");

/** As if that link had been clicked, with the keys that are held: by them it opens in another tab, or window. */
function follow(event, how) {
  if (!event.target.closest("a")) rowLink(event)?.dispatchEvent(new MouseEvent("click", how));
}

/** Draws rows; what has not changed stays, and so do the focus and what is marked. */
function drawing(into, key, draw) {
  let drawn = new Map();
  return (all) => {
    const before = drawn;
    drawn = new Map();
    for (const each of all) {
      const said = JSON.stringify(each);
      const known = before.get(key(each));
      drawn.set(key(each), known?.said === said ? known : { said, row: draw(each) });
    }
    const focused = document.activeElement;
    const links = (row) => [...row.querySelectorAll("a")];
    const left = [...before].find(([, { row }]) => row.contains(focused));
    let next = into.firstChild;
    for (const { row } of drawn.values()) {
      for (const time of row.querySelectorAll("time")) time.textContent = ago(time.dateTime);
      if (row === next) next = next.nextSibling;
      else into.insertBefore(row, next);
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
    if (left && document.activeElement !== focused) {
      const [which, { row }] = left;
      links(drawn.get(which)?.row ?? into)[links(row).indexOf(focused)]?.focus();
    }
  };
}
