"""What Langfuse took of what is not through yet is known for a while, also over restarts."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from otel_bridge.exporters.langfuse.taken import KEPT_S, Taken
from otel_bridge.model import Observation
from otel_bridge.telemetry import logger


def test_what_does_not_come_again_is_forgotten(tmp_path: Path, observation: Callable[..., Observation]) -> None:
    """After an hour somebody may have deleted it there, and sends it again."""
    now_s = 1.8e9
    waits, gone = observation(1), observation(2)

    def opened() -> AbstractContextManager[Taken]:
        return Taken.kept(tmp_path / "taken.json", logger("langfuse"), lambda: now_s)

    with opened() as taken:
        taken.add([waits, gone])
    now_s += KEPT_S - 1
    with opened() as taken:
        assert taken.without([waits, gone]) == []
        taken.add([waits])
        now_s += 2
        assert taken.without([waits, gone]) == [gone]
    now_s += KEPT_S
    with opened() as taken:
        assert taken.without([waits, gone]) == [waits, gone]
    assert not (tmp_path / "taken.json").exists()
