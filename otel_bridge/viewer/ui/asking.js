// Asking the bridge, now and again, and saying whether it answers.

export const LIST_EVERY_MS = 3000;
const SLOW_TIMES = 10; // a question that the store has to search long for is not asked all the time

const live = document.getElementById("live");
const problem = document.getElementById("problem");
const logout = document.getElementById("logout");
const [problemSaid, login] = problem.children;
login.addEventListener("click", () => location.reload()); // the bridge asks for the password, and leads back here

let asking = new AbortController();

/** The bridge answered, and refused: `status` is HTTP's, the message the bridge's own. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Nothing answers. */
class Unanswered extends Error {}

export const ask = (path) => answered(path, { signal: asking.signal });

/** Have something changed; that goes on where the view is left. */
export const tell = (path, change, method = "POST") =>
  answered(path, { method, body: JSON.stringify(change), headers: { "Content-Type": "application/json", "X-Otel-Bridge": "1" } });

export async function answered(path, { headers, ...asked } = {}) {
  let response, said;
  try {
    response = await fetch(path, { ...asked, headers: { Accept: "application/json", ...headers } });
    said = await response.text();
  } catch (error) {
    throw error instanceof TypeError ? new Unanswered("The bridge does not answer; trying again.") : error;
  }
  if (response.ok) return JSON.parse(said);
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  throw new Refusal(response.status, (isJson && JSON.parse(said).error) || `The bridge answered ${response.status}.`);
}

/** Say what went wrong, or that nothing did; where nothing answers, or nobody is known any more, nothing is live. */
export function report(error) {
  const loggedOut = error?.status === 401;
  const off = error instanceof Unanswered ? "not connected" : loggedOut ? "logged out" : "";
  live.className = off && "off";
  say(live, off || "live");
  problem.hidden = !error;
  login.hidden = !loggedOut;
  logout.hidden ||= loggedOut;
  say(problemSaid, loggedOut ? "You are not logged in any more; what stands here is from before." : (error?.message ?? ""));
}

/** What is written anew is read out anew by a screen reader. */
function say(where, words) {
  if (where.textContent !== words) where.textContent = words;
}

let timer = 0;

/** Stop asking for the view that was open before. */
export function stop() {
  asking.abort();
  asking = new AbortController();
  clearTimeout(timer);
}

/** Do `work` now and again `after` it says, until another view opens; it is not done while nobody looks. */
export async function repeat(work) {
  stop();
  const mine = asking;
  const turn = async () => {
    let wait = LIST_EVERY_MS;
    const began = performance.now();
    try {
      if (!document.hidden) {
        wait = (await work()) ?? wait;
        if (mine === asking) report(null);
      }
    } catch (error) {
      if (mine !== asking) return;
      report(error);
      if (error.status === 400) return; // the same question would be refused again
    }
    const took = performance.now() - began;
    if (mine === asking) timer = setTimeout(turn, Math.max(wait, SLOW_TIMES * took));
  };
  await turn();
}
