"""How commands find the running bridge."""

import json
import os
import stat
from pathlib import Path

import pytest

from otel_bridge.cli.found import announced, find, place
from otel_bridge.errors import PlanError

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
        json.dumps({"pid": 2**22 + 1, "endpoints": ENDPOINTS}),  # above the highest there can be
        json.dumps({"pid": -1, "endpoints": ENDPOINTS}),
    ],
)
def test_what_a_dead_bridge_left_is_nobody(tmp_path: Path, left: str) -> None:
    """Killed, torn or foreign: no error, and no bridge."""
    (tmp_path / "bridge.json").write_text(left)

    assert find(tmp_path) is None


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with secrets that are not in the environment: whoever only looks needs none."""
    monkeypatch.setenv("OTEL_BRIDGE_DATA_DIR", str(tmp_path / "not this one"))
    monkeypatch.setenv("ELSEWHERE", "elsewhere")
    path = tmp_path / "bridge.yaml"
    path.write_text(
        "exporters:\n"
        "  store: {}\n"
        "  langfuse: {public_key: '${env:NO_SUCH_KEY}'}\n"
        "extensions: {viewer/mine: {endpoint: '0.0.0.0:24319'}}\n"
        f"service: {{data_dir: '{tmp_path}/${{env:ELSEWHERE}}'}}\n"
    )
    return path


def test_the_configuration_says_where_the_files_are(written: Path, tmp_path: Path) -> None:
    """And not the variable that only the built-in configuration asks for."""
    found = place(written)

    assert found.data_dir == tmp_path / "elsewhere"
    assert found.store == tmp_path / "elsewhere" / "store.db"
    assert found.url == "http://127.0.0.1:24319"


def test_the_store_may_be_in_another_place(written: Path, tmp_path: Path) -> None:
    written.write_text(written.read_text().replace("store: {}", f"store: {{path: {tmp_path}/mine.db}}"))

    assert place(written).store == tmp_path / "mine.db"


def test_a_folder_that_was_named_comes_first(written: Path, tmp_path: Path) -> None:
    assert place(written, tmp_path).data_dir == tmp_path


def test_without_a_configuration_the_built_in_one_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BRIDGE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("OTEL_BRIDGE_VIEWER", "127.0.0.1:24319")

    assert (place(None).data_dir, place(None).url) == (tmp_path, "http://127.0.0.1:24319")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("service: {data_dir: '${env:NO_SUCH_FOLDER}'}", "the environment has no NO_SUCH_FOLDER"),
        ("service: {data_dir: [", "not valid YAML"),
        ("", "the file is empty"),
    ],
)
def test_what_does_not_say_where_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Rather than to look into another bridge's files."""
    (tmp_path / "bridge.yaml").write_text(text)

    with pytest.raises(PlanError, match=message):
        place(tmp_path / "bridge.yaml")


def test_a_configuration_without_a_viewer_has_no_address(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text("service: {data_dir: here}")

    assert place(tmp_path / "bridge.yaml").url is None
