"""A configuration says what runs; what is wrong with it is said all at once, with line and path."""

import json
from pathlib import Path

import pytest

from otel_bridge import plan
from otel_bridge.errors import PlanError
from tests.plan.configured import GOOD, mistakes


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
        "bridge.yaml:10 service::pipelines::main::exporters: 'fil/second' is not configured, did you mean file/second?",
        "bridge.yaml:10 service::pipelines::main::exporters: 'file' is there twice",
        "bridge.yaml:11 servce: no such section, did you mean service?",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("file: {path", "fle: {path"), "bridge.yaml:4 exporters::fle: no such exporter, did you mean file?"),
        (
            ("file: {path", "file/a.settled: {path"),
            "bridge.yaml:4 exporters::file/a.settled: an id that ends in '.settled' is the bridge's own",
        ),
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
            "bridge.yaml:8 'data_dir' is there twice",
        ),
        (
            ("  file: {path", "  file: {path: a, format: x}\n  file: {path"),
            "bridge.yaml:5 'file' is there twice",
        ),
        (("2h", "30"), "bridge.yaml:8 service::journal::max_age: 30 has no unit, write it as 500ms, 6s, 2m, 12h or 7d"),
        (
            ("64MiB", "67108864"),
            "bridge.yaml:8 service::journal::max_bytes: 67108864 has no unit, write it as 64KiB, 20MiB or 8GiB",
        ),
        (("64MiB", "1KiB"), "bridge.yaml:8 service::journal::max_bytes: must be at least 1MiB"),
        (("2h", "0s"), "bridge.yaml:8 service::journal::max_age: must be above 0"),
        (
            ("  journal:", "  assemble: {grace: 20m}\n  journal:"),
            "bridge.yaml:8 service::assemble::grace: is above max_hold",
        ),
        (
            ("  journal:", "  assemble: {idle: 20m}\n  journal:"),
            "bridge.yaml:8 service::assemble::idle: is above max_hold",
        ),
        (
            ("max_age: 2h", "max_age: 5m"),
            "bridge.yaml:8 service::journal::max_age: is below assemble::max_hold",
        ),
        (
            ("exporters:\n", "processors:\n  filtr: {}\nexporters:\n"),
            "bridge.yaml:4 processors::filtr: no such processor, ",
        ),
        (
            ("{receivers: [otlp]", "{receivers: [otlp], processors: [filter]"),
            (
                "bridge.yaml:10 service::pipelines::main::processors: 'filter' is not configured"
                "; name it under processors, as `filter: {}`"
            ),
        ),
        (
            ("receivers: [otlp]", "receivers: otlp"),
            "bridge.yaml:10 service::pipelines::main::receivers: must be a list, ",
        ),
        (("[otlp]", "[]"), "bridge.yaml:10 service::pipelines::main::receivers: must not be empty"),
        (('"127.0.0.1:0"', "24318"), "bridge.yaml:2 receivers::otlp::http: must be text, as 127.0.0.1:4318"),
        (("out.jsonl}", "out.jsonl, fsync: maybe}"), "bridge.yaml:4 exporters::file::fsync: must be true or false"),
        (("{path: out.jsonl}", "out.jsonl"), "bridge.yaml:4 exporters::file: must be a mapping of keys to values"),
        (
            ("grpc: null}", "grpc: null, bodys: 1}"),
            "bridge.yaml:2 receivers::otlp::bodys: no such key, did you mean ",
        ),
        (("receivers:\n", "receivers:\n\t"), "bridge.yaml:2 not valid YAML: found character"),
    ],
)
def test_a_mistake_names_place_and_remedy(change: tuple[str, str], message: str) -> None:
    found = mistakes(GOOD.replace(*change))

    assert [one for one in found if one.startswith(message)], found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("- a\n", "must be a mapping"),
        ("a: 2024-99-99\n", "a value is not what it looks like: month must be in 1..12"),
        ("a: " + "[" * 1000, "is nested too deeply"),
    ],
)
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


def test_a_missing_variable_is_said_once() -> None:
    """Not also as the empty text that it leaves behind."""
    langfuse = "  langfuse: {public_key: '${env:PK}', secret_key: '${env:SK:-}'}\n"
    found = mistakes(GOOD.replace("exporters:\n", f"exporters:\n{langfuse}", 1))

    assert found == [
        "bridge.yaml:4 exporters::langfuse::public_key: the environment has no PK, set it or write ${env:PK:-default}",
        "bridge.yaml:4 exporters::langfuse::secret_key: must not be empty",
    ]


def test_nobody_is_told_to_write_a_default_for_a_secret(tmp_path: Path) -> None:
    """It would be the word `default`; wherever the secret stands."""
    (tmp_path / "empty").touch()
    config = tmp_path / "bridge.yaml"
    config.write_text(
        "receivers: {otlp: {}}\n"
        "exporters:\n"
        "  langfuse: {public_key: pk, secret_key: '${file:empty}'}\n"
        "  langfuse/b: {public_key: pk, secret_key: '${env:A}'}\n"
        "  otlp: {endpoint: 'http://a', headers: {authorization: 'Bearer ${env:B}'}}\n"
        "extensions: {viewer: {password: '${file:none}'}}\n"
        "service:\n"
        "  tenants:\n"
        "    acme:\n"
        "      keys: ['${env:C}', '${file:none}']\n"
        "      exporters: {langfuse: {secret_key: '${env:D}'}}\n"
        "  pipelines: {main: {receivers: [otlp], exporters: [langfuse, langfuse/b, otlp]}}\n"
    )

    with pytest.raises(PlanError) as caught:
        plan.load(config, environ={})

    tenant, write = "service::tenants::acme", "write the value into it, readable by the bridge alone"
    assert [mistake.partition(" ")[2] for mistake in caught.value.mistakes] == [
        f"exporters::langfuse::secret_key: the file empty is empty: {write}",
        "exporters::langfuse/b::secret_key: the environment has no A, set it",
        "exporters::otlp::headers::authorization: the environment has no B, set it",
        f"extensions::viewer::password: there is no file none: {write}",
        f"{tenant}::keys::0: the environment has no C, set it",
        f"{tenant}::keys::1: there is no file none: {write}",
        f"{tenant}::exporters::langfuse::secret_key: the environment has no D, set it",
    ]


def test_what_only_the_collector_needs_is_to_be_left_out() -> None:
    """Where it is configured, and where a pipeline names it; whatever the names are."""
    text = GOOD.replace("service:\n", "processors: {batch/2: {}}\nservice:\n  extensions: [viewer]\n")
    found = mistakes(text.replace("[otlp],", "[otlp], processors: [memory_limiter, batch/2, batch],"))

    batch = "the Collector's batch is not needed here: leave it out"
    named = "service::pipelines::main::processors"
    assert f"bridge.yaml:6 processors::batch/2: no such processor, {batch}" in found
    assert f"bridge.yaml:12 {named}: 'batch' is not configured, {batch}" in found
    assert (
        "bridge.yaml:8 service::extensions: no such key, whatever stands under extensions runs: leave it out" in found
    )
    assert len([one for one in found if "memory_limiter is not needed here" in one]) == 1


def test_a_value_of_the_environment_is_named_by_its_variable() -> None:
    """The built-in configuration is a file that nobody wrote, so its lines are nobody's."""
    with pytest.raises(PlanError) as built_in:
        plan.load(None, environ={"OTEL_BRIDGE_HTTP": "24318"})
    written = mistakes(GOOD.replace('"127.0.0.1:0"', '"${env:DOOR}"'), DOOR="24318")

    assert built_in.value.mistakes[0].startswith("OTEL_BRIDGE_HTTP: write it as host:port")
    assert written[0].startswith("bridge.yaml:2 receivers::otlp::http: write it as host:port")
    assert written[0].endswith("(the value is that of DOOR)")


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("127.0.0.1:4319", "127.0.0.1:4319", True),
        ("0.0.0.0:4319", "localhost:4319", True),
        ("127.0.0.1:4319", "127.0.0.2:4319", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_two_doors_need_two_addresses(first: str, second: str, clash: bool) -> None:
    text = GOOD.replace("127.0.0.1:0", first) + f'extensions:\n  viewer: {{endpoint: "{second}"}}\n'

    if not clash:
        plan.parse(text, "bridge.yaml", environ={})
        return
    found = mistakes(text)[-1]
    assert found.startswith(
        f"bridge.yaml:12 extensions::viewer::endpoint: {second} is the address of receivers::otlp::"
    )


def test_what_no_pipeline_uses_is_a_warning() -> None:
    read = plan.parse(GOOD.replace("[file, file/second]", "[file]"), "bridge.yaml", environ={})

    [warning] = read.warnings
    assert warning.startswith("bridge.yaml:5 exporters::file/second: no pipeline uses it")
    assert plan.parse(GOOD, "bridge.yaml", environ={}).warnings == ()
