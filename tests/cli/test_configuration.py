"""Configuration on the command line: printed, described, begun, checked."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow  # every test starts a process

MISTAKEN = """\
receivers:
  otlp: {}
exporters:
  store: {}
service:
  data_dr: /tmp
  pipelines:
    main: {receivers: [otlp], exporters: [stor]}
"""


def test_init_then_validate(run: Run, tmp_path: Path) -> None:
    """What `config init` writes is valid, and is not written over."""
    written = run("config", "init", "mine.yaml")
    checked = run("validate", "mine.yaml")
    again = run("config", "init", "mine.yaml")

    assert (written.returncode, checked.returncode, again.returncode) == (0, 0, 2)
    assert "main: otlp → store" in checked.stdout
    assert "--force" in again.stderr
    assert (tmp_path / "mine.yaml").read_text()


def test_every_mistake_has_its_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(MISTAKEN)

    result = run("validate", "bad.yaml")

    assert result.returncode == 78
    assert "bad.yaml:6 service::data_dr: no such key, did you mean data_dir?" in result.stderr
    assert "Traceback" not in result.stderr


def test_mistakes_for_programs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(MISTAKEN)

    said = json.loads(run("validate", "bad.yaml", "--json").stderr)

    assert said["exitCode"] == 78
    assert len(said["mistakes"]) >= 1


def test_a_mistake_binds_nothing(run: Run, tmp_path: Path) -> None:
    """`serve` with a bad configuration ends before it makes a data dir."""
    (tmp_path / "bad.yaml").write_text(MISTAKEN)

    result = run("serve", "--config", "bad.yaml")

    assert result.returncode == 78
    assert not (tmp_path / "data").exists()


def test_secrets_are_not_printed(run: Run) -> None:
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-very-secret"}

    for words in (["config", "print"], ["config", "print", "--json"], ["config", "print", "--sources"], ["--help"]):
        result = run(*words, more=keys)
        assert result.returncode == 0, result.stderr
        assert "langfuse" in result.stdout.lower()
        assert "very-secret" not in result.stdout + result.stderr


def test_print_gives_back_a_configuration(run: Run, tmp_path: Path) -> None:
    """The printed configuration is one: it validates, and says the same when printed again."""
    first = run("config", "print").stdout
    (tmp_path / "again.yaml").write_text(first)

    again = run("config", "print", "--config", "again.yaml").stdout

    assert again == first
    assert YAML(typ="safe").load(first)["service"]["assemble"]["grace"] == "6s"


def test_sources_name_the_variable(run: Run, tmp_path: Path) -> None:
    rows = json.loads(run("config", "print", "--sources", "--json").stdout)
    source = {row["path"]: row["source"] for row in rows}

    assert "env OTEL_BRIDGE_DATA_DIR" in source["service::data_dir"]
    assert source["service::assemble::grace"] == "default"


def test_schema_knows_the_components(run: Run) -> None:
    schema = json.loads(run("config", "schema").stdout)

    assert "^langfuse(/.+)?$" in schema["properties"]["exporters"]["patternProperties"]


def test_components_are_listed(run: Run) -> None:
    listed = {(row["kind"], row["name"]) for row in json.loads(run("components", "--json").stdout)}

    assert {
        ("receivers", "otlp"),
        ("exporters", "langfuse"),
        ("exporters", "store"),
        ("extensions", "viewer"),
    } <= listed
    assert "otlp" in run("components").stdout


def test_dialects_are_listed(run: Run) -> None:
    names = {row["name"] for row in json.loads(run("dialects", "--json").stdout)}

    assert len(names) >= 4


def test_init_writes_the_comments_too(run: Run, tmp_path: Path) -> None:
    run("config", "init", "mine.yaml", "--langfuse")

    assert (tmp_path / "mine.yaml").read_text().startswith("# Local store and viewer, and everything to Langfuse")


def test_what_nothing_uses_is_said_and_can_be_run(run: Run, tmp_path: Path) -> None:
    run("config", "init", "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("exporters:\n", "exporters:\n  debug: {}\n", 1))

    plain, said = run("validate", "mine.yaml"), json.loads(run("validate", "mine.yaml", "--json").stdout)

    assert (plain.returncode, said["valid"]) == (0, True)
    assert "exporters::debug: no pipeline uses it" in plain.stdout
    assert "exporters::debug: no pipeline uses it" in said["warnings"][0]


def test_sources_show_values_as_yaml_writes_them(run: Run) -> None:
    """Not as Python does."""
    shown = run("config", "print", "--sources").stdout
    rows = {row["path"]: row["value"] for row in json.loads(run("config", "print", "--sources", "--json").stdout)}

    assert rows["exporters::store::path"] is None
    assert "None" not in shown
    assert "null" in shown
