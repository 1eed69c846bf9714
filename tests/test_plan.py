"""A configuration says what runs; what is wrong with it is said all at once, with line and path."""

import json
from pathlib import Path

import pytest

from otel_bridge import plan
from otel_bridge.errors import PlanError

GOOD = """\
receivers:
  otlp: {http: "127.0.0.1:0", grpc: null}
exporters:
  file: {path: out.jsonl}
  file/second: {path: "${env:OUT:-second.jsonl}"}
service:
  data_dir: /tmp/somewhere
  journal: {max_bytes: 64MiB, max_age: 2h}
  pipelines:
    main: {receivers: [otlp], exporters: [file, file/second]}
"""


def mistakes(text: str, **environ: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan.parse(text, "bridge.yaml", environ=environ)
    return list(caught.value.mistakes)


def test_units_ids_and_environment_are_read() -> None:
    read = plan.parse(GOOD, "bridge.yaml", environ={"OUT": "third.jsonl"})

    assert read.service.journal.max_bytes == 64 << 20
    assert read.service.journal.max_age == 7200
    assert list(read.exporters) == ["file", "file/second"]
    assert read.to_dict()["exporters"]["file/second"]["path"] == "third.jsonl"
    assert read.sources["exporters::file/second::path"] == "bridge.yaml:5 env OUT"


def test_every_mistake_is_said_with_its_line_and_the_likely_word() -> None:
    found = mistakes(
        GOOD.replace("max_bytes", "max_byte").replace("[file, file/second]", "[file, fil/second, file]")
        + "servce: {}\n"
    )

    assert found == [
        "bridge.yaml:8 service::journal::max_byte: no such key, did you mean max_bytes?",
        "bridge.yaml:11 servce: no such section, did you mean service?",
    ]
    assert mistakes(GOOD.replace("[file, file/second]", "[file, fil/second, file]")) == [
        "bridge.yaml:10 service::pipelines::main::exporters: 'fil/second' is not configured, did you mean file/second?",
        "bridge.yaml:10 service::pipelines::main::exporters: 'file' is there twice",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("file: {path", "fle: {path"), "bridge.yaml:4 exporters::fle: no such exporter, did you mean file?"),
        (("64MiB", "64 potatoes"), "bridge.yaml:8 service::journal::max_bytes: write it as 64KiB, 20MiB or 8GiB"),
        (("2h", "soon"), "bridge.yaml:8 service::journal::max_age: write it as 500ms, 6s, 2m, 12h or 7d"),
        (
            ("${env:OUT:-second.jsonl}", "${env:OUT}"),
            "bridge.yaml:5 exporters::file/second::path: the environment has no OUT",
        ),
        (("${env:OUT:-second.jsonl}", "${OUT}"), "bridge.yaml:5 exporters::file/second::path: ${OUT} cannot be read"),
        (("receivers: [otlp], ", ""), "bridge.yaml:10 service::pipelines::main::receivers: is required"),
        (("path: out.jsonl", ""), "bridge.yaml:4 exporters::file::path: is required"),
        (
            ("  data_dir: /tmp/somewhere", "  data_dir: a\n  data_dir: b"),
            "bridge.yaml:8 not valid YAML: found duplicate key",
        ),
        (("receivers:\n", "receivers:\n\t"), "bridge.yaml:2 not valid YAML: found character"),
    ],
)
def test_a_mistake_names_place_and_remedy(change: tuple[str, str], message: str) -> None:
    found = mistakes(GOOD.replace(*change))

    assert [one for one in found if one.startswith(message)], found


@pytest.mark.parametrize(("text", "message"), [("", "the file is empty"), ("- a\n", "must be a mapping")])
def test_what_is_no_mapping_is_refused(text: str, message: str) -> None:
    assert message in mistakes(text)[0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"nowhere\.yaml: cannot be read: No such file"):
        plan.load(tmp_path / "nowhere.yaml", environ={})


def test_dollars_can_be_written() -> None:
    read = plan.parse(GOOD.replace("out.jsonl", "a$$b$c"), "bridge.yaml", environ={})

    assert read.to_dict()["exporters"]["file"]["path"] == "a$b$c"


def test_langfuse_joins_the_default_when_its_keys_are_there() -> None:
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-canary"}

    alone, both = plan.load(None, environ={}), plan.load(None, environ=keys)

    assert alone.service.pipelines["main"].exporters == ["store"]
    assert both.service.pipelines["main"].exporters == ["store", "langfuse"]
    assert "sk-lf-canary" not in json.dumps(both.to_dict()) + repr(both)
    assert "sk-lf-canary" in json.dumps(both.to_dict(show_secrets=True))


def test_the_schema_knows_every_component_and_refuses_other_keys() -> None:
    made = plan.schema()

    assert {"^file(/.+)?$", "^store(/.+)?$"} <= set(made["properties"]["exporters"]["patternProperties"])
    assert made["properties"]["service"]["additionalProperties"] is False
