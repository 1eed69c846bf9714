// Elements, and numbers and times as people write them.
// What a trace holds only ever becomes text (textContent): nothing here writes HTML.

/** An element with properties (`data` and `style` as objects) and children: nodes or text. */
export function el(tag, properties = {}, ...children) {
  const { data = {}, style = {}, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, data);
  Object.assign(node.style, style);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return node;
}

/** As the terminal writes it (query/outline.py), and what is below a millisecond. */
export function duration(ms) {
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(1)} s`;
  const of = (whole, unit, each, smaller) => `${Math.floor(whole / each)} ${unit} ${String(whole % each).padStart(2, "0")} ${smaller}`;
  if (ms < 7200000) return of(Math.round(ms / 1000), "min", 60, "s");
  if (ms < 172800000) return of(Math.round(ms / 60000), "h", 60, "min");
  return of(Math.round(ms / 3600000), "d", 24, "h");
}

/** Times are UTC, as in filters and on the terminal, and say so; that of this machine is shown on pointing at one. */
export const moment = (iso) => `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
export const everywhere = (iso) => `${iso}, here ${new Date(iso).toLocaleString()}`;

export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (seconds < 0 || seconds > 86400 * 6) return `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`;
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** When something began, as long ago as it is: who draws it again writes that anew. */
export const timeOf = (iso) => el("time", { dateTime: iso, title: everywhere(iso) }, ago(iso));

export const count = (number) => (number === null || number === undefined ? "" : number.toLocaleString("en-US"));

/** As the terminal writes it (query/outline.py). */
export function cost(dollars) {
  if (dollars === null || dollars === undefined) return "";
  const sign = dollars < 0 ? "-" : "";
  const size = Math.abs(dollars);
  if (size >= 1) return `${sign}$${size.toFixed(2)}`;
  return size > 0 && size < 0.0001 ? `${sign}<$0.0001` : `${sign}$${Number(size.toPrecision(2))}`;
}

export const microseconds = (iso) => Date.parse(`${iso.slice(0, 23)}Z`) + Number(iso.slice(23, 26)) / 1000;

export const notFoundWords = (title, words) => [el("h1", {}, title), el("p", {}, words), el("p", {}, el("a", { href: "#/" }, "All traces"))];
export const notFound = (title, words) => el("div", { className: "empty" }, notFoundWords(title, words));
