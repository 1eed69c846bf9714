"""Who uses a bridge that `run` has started."""

import subprocess
import sys
from pathlib import Path

import pytest

from otel_bridge.cli.own import OwnBridge, one_at_a_time, seized, use
from otel_bridge.errors import FilesError, PlanError, UnreachableError


def never() -> bool:
    return False


def test_the_last_is_told_so_and_nobody_begins_until_it_is_over(tmp_path: Path) -> None:
    folder = tmp_path / "not there yet"
    with use(folder, never) as second:
        with use(folder, never) as first:
            assert not first.is_last()
        assert second.is_last()
        asked: list[bool] = []
        with use(folder, lambda: asked.append(True) or len(asked) > 2):
            assert len(asked) == 3, "it has waited, and was stopped"
        assert not seized(folder)
    assert seized(folder)


def test_only_one_looks_for_a_bridge_and_starts_it(tmp_path: Path) -> None:
    """Of several that begin together the others find it then."""
    asked: list[bool] = []
    with one_at_a_time(tmp_path, never), one_at_a_time(tmp_path, lambda: asked.append(True) or len(asked) > 2):
        assert len(asked) == 3, "it has waited, and was stopped"
    with one_at_a_time(tmp_path, never):
        pass


@pytest.mark.parametrize(
    ("last", "code", "error", "why"),
    [
        (r'{"error": "a key is wrong\nand another", "exitCode": 78}', 78, PlanError, "a key is wrong\nand another"),
        ('{"error": "it is in use", "exitCode": 73}', 73, FilesError, "it is in use"),
        ("Killed", 137, UnreachableError, "Killed"),
    ],
)
def test_why_none_can_be_started_is_said_in_words(
    tmp_path: Path, last: str, code: int, error: type[Exception], why: str
) -> None:
    says = f"import sys; print('a line before', file=sys.stderr); print({last!r}, file=sys.stderr); sys.exit({code})"
    with (tmp_path / "out").open("w+b") as out, (tmp_path / "err").open("w+b") as err:
        with subprocess.Popen([sys.executable, "-S", "-c", says], stderr=err) as process:
            own = OwnBridge(process, out, err)
        with pytest.raises(error, match=f"no bridge runs, and none can be started: {why}$"):
            own.started(tmp_path, never)


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FilesError, match="file can not be used: File exists"), use(tmp_path / "file", never):
        pass


@pytest.mark.parametrize(("code", "waiting"), [(0, {"langfuse": {"traces": 3}}), (1, {})])
def test_what_a_bridge_says_last_is_heard(tmp_path: Path, code: int, waiting: dict[str, dict[str, int]]) -> None:
    """Where it has failed, that is not known."""
    says = 'print(\'{"pid": 1}\\n{"waiting": {"langfuse": {"traces": 3}}}\')'
    with (tmp_path / "out").open("w+b") as out, (tmp_path / "err").open("w+b") as err:
        with subprocess.Popen([sys.executable, "-S", "-c", f"{says}; raise SystemExit({code})"], stdout=out) as process:
            own = OwnBridge(process, out, err)
        own.hear()
    assert own.waiting == waiting
