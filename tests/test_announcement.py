"""How commands and agents find the running bridge."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from otel_bridge.announcement import announced, find

ENDPOINTS = {
    "otlp": {"grpc": "http://127.0.0.1:1", "http": "http://127.0.0.1:2"},
    "viewer": {"http": "http://127.0.0.1:3"},
}


def test_a_bridge_is_found_while_it_runs(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    with announced(tmp_path, ENDPOINTS):
        found = find(tmp_path)
        assert stat.S_IMODE((tmp_path / "bridge.json").stat().st_mode) == 0o600
    assert find(tmp_path) is None

    assert found is not None
    assert found.pid == os.getpid()
    assert found.address("otlp", name="http") == "http://127.0.0.1:2"
    assert found.address("viewer", "health") == "http://127.0.0.1:3"
    assert found.address("health") is None


def test_an_address_for_everybody_is_reached_on_loopback(tmp_path: Path) -> None:
    """As in a container."""
    with announced(tmp_path, {"viewer": {"viewer": "http://0.0.0.0:4319"}}):
        found = find(tmp_path)

    assert found is not None
    assert found.address("viewer") == "http://127.0.0.1:4319"


@pytest.mark.parametrize(
    "left",
    [
        "",
        "{",
        "[]",
        '{"pid": "x"}',
        '{"pid": 1, "endpoints": {"a": 1}}',
        '{"pid": 1, "endpoints": {"a": ["bc"]}}',
        '{"pid": Infinity, "endpoints": {}}',
        "[" * 100_000,
        json.dumps({"pid": 2**22 + 1, "endpoints": ENDPOINTS}),  # above the highest there can be
        json.dumps({"pid": -1, "endpoints": ENDPOINTS}),
    ],
)
def test_what_a_dead_bridge_left_is_nobody(tmp_path: Path, left: str) -> None:
    """Killed, torn or foreign: no error, and no bridge."""
    (tmp_path / "bridge.json").write_text(left)

    assert find(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="of others than Linux it is not asked when a process began")
def test_another_process_by_the_number_of_a_dead_bridge_is_nobody(tmp_path: Path) -> None:
    """As numbers are given out again."""
    with announced(tmp_path, ENDPOINTS):
        said = json.loads((tmp_path / "bridge.json").read_text())
        assert find(tmp_path) is not None
    (tmp_path / "bridge.json").write_text(json.dumps({**said, "began": said["began"] - 1}))
    assert find(tmp_path) is None
    (tmp_path / "bridge.json").write_text(json.dumps({**said, "began": None}))
    assert find(tmp_path) is not None, "where the system does not tell when, the number is believed"
