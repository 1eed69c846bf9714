"""A trace as text: for a terminal, a chat or another program to read."""

from decimal import ROUND_HALF_UP, Decimal, localcontext
from math import inf
from typing import Any

import orjson

from otel_bridge.batch import DEFAULT_TENANT
from otel_bridge.counts import plural
from otel_bridge.query.answer import Answer
from otel_bridge.query.transcript import SHOWN, messages_of, spoken
from otel_bridge.query.tree import guides
from otel_bridge.telemetry import printable

BRIEF_CHARACTERS = 300
LONGER: tuple[tuple[float, tuple[int, str, int, str]], ...] = (
    (7_200_000, (1000, "min", 60, "s")),
    (172_800_000, (60_000, "h", 60, "min")),
    (inf, (3_600_000, "d", 24, "h")),
)
"""Durations below so many milliseconds: what they are counted in, and the units that are shown."""

NOT_KEPT = {"sampled_out": "sampled"}


def duration(milliseconds: float) -> str:
    """A duration for people: `850 ms`, `12.3 s`, `4 min 05 s`, `3 h 05 min`. As the page writes it (ui/elements.js)."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 120_000:
        return f"{milliseconds / 1000:.1f} s"
    whole, unit, each, smaller = next(units for most, units in LONGER if milliseconds < most)
    larger, rest = divmod(round(milliseconds / whole), each)
    return f"{larger} {unit} {rest:02} {smaller}"


def cost(dollars: float) -> str:
    """A cost for people: cents and less keep two digits that count. As the page writes it (ui/elements.js)."""
    sign, dollars = "-" if dollars < 0 else "", abs(dollars)
    if 0 < dollars < 0.0001:
        return f"{sign}<$0.0001"
    exact = Decimal(dollars)  # browsers, too, round what the float is, which for 1.005 is a little less
    with localcontext(rounding=ROUND_HALF_UP):
        return f"{sign}${exact:.2f}" if dollars >= 1 else f"{sign}${float(f'{exact:.2g}'):g}"


def left_out(trace: Answer) -> tuple[str, str]:
    """What was decided for a trace that was not kept, and why; two empty texts for any other."""
    decision, _, reason = (trace["omitted"] or "").partition(":")
    return NOT_KEPT.get(decision, decision), printable(reason)


def state(trace: Answer) -> str:
    """`(open)`, `(in part)`, `not kept (sampled: rate)`, or nothing for a trace that has settled whole."""
    decision, reason = left_out(trace)
    if decision:
        return f"not kept ({decision}: {reason})"
    return "(in part)" if trace["partial"] else "" if trace["settled"] else "(open)"


def facts(answer: Answer) -> str:
    """Duration, tokens, cost and errors of a trace or session, as far as known: `3.2 s · 6512 tokens · $0.019`."""
    parts = [duration(answer["durationMs"])]
    if answer.get("observationCount") is not None:
        parts.append(plural(answer["observationCount"], "observation"))
    if answer["totalTokens"] is not None:
        parts.append(plural(answer["totalTokens"], "token"))
    if answer["totalCost"] is not None:
        parts.append(cost(answer["totalCost"]))
    if answer["errorCount"]:
        parts.append(plural(answer["errorCount"], "error"))
    return " · ".join(parts)


def observation_facts(observation: Answer) -> str:
    """Duration, model, tokens and cost of an observation, as far as known."""
    parts = [duration(observation["durationMs"])]
    parts += ["not ended"] if observation["open"] else []
    if observation["model"]:
        parts.append(printable(observation["model"]))
    if observation["totalTokens"] is not None:
        parts.append(plural(observation["totalTokens"], "token"))
    if observation["totalCost"] is not None:
        parts.append(cost(observation["totalCost"]))
    return " · ".join(parts)


def failure(observation: Answer) -> str:
    """The level and message of an observation that is not as usual, or nothing."""
    if observation["level"] in ("DEFAULT", "DEBUG"):
        return ""
    return f"{observation['level']} {printable(observation['statusMessage'] or '')}".rstrip()


def scored(score: Answer) -> str:
    """A score on one line: `helpful = 0.9 (comment)`."""
    value = score["value"]
    said = f"{value:g}" if isinstance(value, float) else printable(brief(value))
    comment = f" ({printable(brief(score['comment']))})" if score["comment"] else ""
    return f"{printable(score['name'])} = {said}{comment}"


def scores_by_observation(trace: Answer) -> dict[str | None, list[Answer]]:
    """The scores of a trace under the id of what they score; under None those of the trace itself."""
    by_id: dict[str | None, list[Answer]] = {}
    for score in trace["scores"]:
        by_id.setdefault(score["observationId"], []).append(score)
    return by_id


def heading(trace: Answer) -> list[tuple[str, str]]:
    """What to say above a tree, (label, text), where it is known: what has not ended, tenant, session and so on."""
    open_still = trace["unfinished"] or {"said": "", "since": "", "lastTime": ""}
    said = [
        ("open", open_still["said"]),
        ("since", to_the_second(open_still["since"])),
        ("told of last", to_the_second(open_still["lastTime"])),
        *whose(trace),
        ("session", trace["sessionId"]),
        ("user", trace["userId"]),
        ("tags", ", ".join(map(str, trace["tags"]))),
        ("input", brief(trace["input"])),
        ("output", brief(trace["output"])),
    ]
    return [(label, printable(text)) for label, text in said if text]


def to_the_second(time: str | None) -> str:
    """A time of an answer, to the second."""
    return f"{time[:10]} {time[11:19]} UTC" if time else ""


def whose(found: Answer) -> list[tuple[str, str]]:
    """Whose a trace is, (label, text), where there are tenants, and who else has one of its id."""
    others = found["otherTenants"]
    return [
        ("tenant", found["tenant"] if others or found["tenant"] != DEFAULT_TENANT else ""),
        ("same id", f"{', '.join(others)} (`--tenant`, or `tenant=` in the API, says whose)" if others else ""),
    ]


def brief(value: Any) -> str:
    """What an input or output says, in short: of chat messages the last."""
    if messages := messages_of(value):
        last = {key: said for key, said in messages[-1].items() if key in SHOWN}
        value = " ".join(said for _, said in spoken([last]))
    if value is None:
        return ""
    text = " ".join((value if isinstance(value, str) else orjson.dumps(value).decode()).split())
    return text if len(text) <= BRIEF_CHARACTERS else text[:BRIEF_CHARACTERS] + "…"


def outline(trace: Answer) -> str:
    """A trace as a tree of lines."""
    lines = [f"trace {printable(trace['name'] or '')} {trace['id']} {state(trace)}".rstrip(), facts(trace)]
    lines += [f"{label}: {text}" for label, text in heading(trace)]
    scores = scores_by_observation(trace)
    lines += [f"score {scored(score)}" for score in scores.get(None, ())]
    lines.append("")
    observations = trace["observations"]
    for guide, observation in zip(guides([row["depth"] for row in observations]), observations, strict=True):
        said = [
            observation["type"],
            printable(observation["name"]),
            observation_facts(observation),
            failure(observation),
        ]
        said += [f"score {scored(score)}" for score in scores.get(observation["id"], ())]
        lines.append(guide + "  ".join(filter(None, said)))
    if trace["nextCursor"]:
        lines.append("… and more observations than are shown here")
    return "\n".join(lines) + "\n"


def markdown(trace: Answer) -> str:
    """The same for a chat; no line of an outline begins with what a trace says, so nothing in it can end the block."""
    return f"## Trace {trace['id']}\n\n```text\n{outline(trace)}```\n"
