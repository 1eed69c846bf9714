"""Where commands look for the running bridge."""

from pathlib import Path

import pytest

from otel_bridge.cli.found import place
from otel_bridge.errors import PlanError


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
