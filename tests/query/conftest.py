"""A store with settled traces, to ask questions of."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from otel_bridge.model import Level, Observation, ObservationType, Score, TraceAttributes, Translation
from otel_bridge.store.reader import Reader, reading
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters

START = 1_700_000_000_000_000_000

COSTS = {
    0.0: "$0", 0.00001: "<$0.0001", 0.00009999: "<$0.0001", 0.0001: "$0.0001", 0.00125: "$0.0013", 0.0123: "$0.012",
    0.0145: "$0.015", 0.1: "$0.1", 0.125: "$0.13", 0.9999: "$1", 1.005: "$1.00", 1.125: "$1.13", 2.675: "$2.67",
    8.575: "$8.57", 12.3: "$12.30", -0.0123: "-$0.012", -1.125: "-$1.13", -5.0: "-$5.00", -0.00001: "-<$0.0001",
}  # fmt: skip
"""What the terminal and the page write of a cost."""

DURATIONS = {
    850: "850 ms", 12_340: "12.3 s", 245_000: "4 min 05 s", 7_199_000: "119 min 59 s", 7_200_000: "2 h 00 min",
    100_000_000: "27 h 47 min", 1_000_000_000: "11 d 14 h",
}  # fmt: skip
"""The same of milliseconds."""

Settled: TypeAlias = Callable[..., None]
Opened: TypeAlias = Callable[[], Reader]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    opened = Writer(tmp_path / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters())
    yield opened
    opened.close()


@pytest.fixture
def settled(writer: Writer) -> Settled:
    """Settles a trace of given number; `tree` holds (number, parent's number) of its observations, 0 for none."""

    def settle(
        number: int,
        tree: tuple[tuple[int, int], ...] = ((1, 0),),
        *,
        start_s: float = 0,
        seconds: float = 1,
        error: bool = False,
        scores: tuple[Score, ...] = (),
        observation: dict[str, Any] | None = None,
        tenant: str = "default",
        **trace: Any,
    ) -> None:
        attributes = TraceAttributes(f"{number:032x}", **{"name": f"trace {number}", **trace})
        start_ns = START + int(start_s * 1e9)
        observations = [
            Observation(
                **{
                    "id": f"{child:016x}",
                    "trace_id": attributes.trace_id,
                    "parent_id": f"{parent:016x}" if parent else None,
                    "type": ObservationType.SPAN,
                    "name": f"observation {child}",
                    "start_ns": start_ns + child,
                    "end_ns": start_ns + int(seconds * 1e9) + child,
                    "trace": attributes,
                    "level": Level.ERROR if error else Level.DEFAULT,
                    **(observation or {}),
                }
            )
            for child, parent in tree
        ]
        writer.settled(Translation(traces=[attributes], observations=observations, scores=list(scores), tenant=tenant))

    return settle


@pytest.fixture
def reader(writer: Writer, tmp_path: Path) -> Iterator[Opened]:
    """Opens readers, each of which sees what was written before."""
    opened = []

    def read() -> Reader:
        opened.append(reading(tmp_path / "store.db"))
        return opened[-1].__enter__()

    yield read
    for context in opened:
        context.__exit__(None, None, None)
