"""The runs in a folder of call logs: what is known of each, and what it comes to.

`{folder}/{run}/.index.json` knows which call has which file; all else can be made from it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from otel_bridge.batch import DEFAULT_TENANT
from otel_bridge.moments import iso

INDEX, CALLS, SUMMARY = ".index.json", "llm_calls", "summary"
LINES = f"{CALLS}/calls.jsonl"
MOST_TRACES = 100  # that a summary names


@dataclass(slots=True)
class Call:
    """A call of a run; or, without a number, something else that tells of tokens or cost.

    file: below the run's folder; None where it has none.
    size: in bytes.
    """

    id: str
    trace_id: str
    start_ns: int
    end_ns: int
    number: int | None = None
    agent: str = ""
    model: str | None = None
    ok: bool = True
    tokens: dict[str, int] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    file: str | None = None
    size: int = 0


@dataclass(slots=True)
class Run:
    """What is known of a run.

    numbered: how many calls have a number, the highest of which it is.
    lines_end: how much of its `calls.jsonl` holds.
    left_out: calls beyond the most that are told apart, of which nothing is kept.
    """

    run_id: str
    tenant: str = DEFAULT_TENANT
    name: str | None = None
    calls: list[Call] = field(default_factory=list)
    numbered: int = 0
    lines_end: int = 0
    left_out: int = 0

    @property
    def size(self) -> int:
        """Bytes of its calls' files."""
        return sum(call.size for call in self.calls)

    @property
    def trace_ids(self) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(call.trace_id for call in self.calls))


def read(folder: Path) -> Run | None:
    """The run in a folder; None where there is none.

    Raises:
        ValueError: what is there cannot be read.
        OSError: it cannot be looked at.
    """
    try:
        written = (folder / INDEX).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        said = orjson.loads(written)
        return Run(**{**said, "calls": [Call(**call) for call in said["calls"]]})
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error


def listed(folder: Path) -> Iterator[tuple[Path, Run]]:
    """The runs in a folder of call logs, the newest first; those that cannot be read are not among them.

    Raises:
        OSError: the folder cannot be read.
    """
    for run_folder in newest_first(folder):
        try:
            run = read(run_folder)
        except (OSError, ValueError):
            continue
        if run is not None:
            yield run_folder, run


def newest_first(folder: Path) -> list[Path]:
    """The folders of runs, by when something was last written there.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    for path in folder.iterdir():
        if path.is_symlink():
            continue
        try:
            found.append(((path / INDEX).stat().st_mtime_ns, path))
        except OSError:  # somebody else's, or it has just gone
            continue
    return [path for _, path in sorted(found, reverse=True)]


def summary(run: Run) -> dict[str, Any]:
    """What a run comes to: calls, failures, tokens, cost and latency, by model and by agent.

    Tokens and cost are those of the whole run, as the store has them: also what somebody else than a call tells of.
    """
    calls = [call for call in run.calls if call.number is not None]
    took = sorted((call.end_ns - call.start_ns) / 1e6 for call in calls)
    trace_ids = run.trace_ids
    said: dict[str, Any] = {
        "run_id": run.run_id,
        "tenant": None if run.tenant == DEFAULT_TENANT else run.tenant,
        "name": run.name,
        "started": iso(min(call.start_ns for call in run.calls)) if run.calls else None,
        "ended": iso(max(call.end_ns for call in run.calls)) if run.calls else None,
        **_sums(calls, run.calls),
        "latency_ms": {
            "total": round(fsum(took), 3),
            "mean": round(fsum(took) / len(took), 3),
            "median": round(median(took), 3),
            "p95": round(took[-(-95 * len(took) // 100) - 1], 3),
            "longest": round(took[-1], 3),
        }
        if took
        else None,
        "models": _by(calls, lambda call: call.model or "unknown"),
        "agents": _by(calls, lambda call: call.agent),
        "trace_ids": trace_ids[:MOST_TRACES],
        "more_traces": len(trace_ids[MOST_TRACES:]) or None,
        "without_file": sum(call.file is None for call in calls) or None,
        "left_out": run.left_out or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _by(calls: list[Call], name: Any) -> dict[str, Any]:
    groups: dict[str, list[Call]] = {}
    for call in calls:
        groups.setdefault(name(call), []).append(call)
    return {key: _sums(group, group) for key, group in sorted(groups.items())}


def _sums(calls: list[Call], told: list[Call]) -> dict[str, Any]:
    return {
        "calls": len(calls),
        "failed": sum(not call.ok for call in calls),
        "tokens": _added(call.tokens for call in told),
        "cost": {name: round(dollars, 10) for name, dollars in _added(call.cost for call in told).items()},
    }


def _added(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for part in parts:
        for name, amount in part.items():
            sums[name] = sums.get(name, 0) + amount
    return dict(sorted(sums.items(), key=lambda item: item[0] == "total"))
