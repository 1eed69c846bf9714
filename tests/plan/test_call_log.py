"""The environment says how calls are logged, over what a file says, which stands over the defaults."""

from pathlib import Path
from typing import Any

import pytest

from otel_bridge import plan
from otel_bridge.errors import PlanError

FILE = """\
receivers: {otlp: {http: "127.0.0.1:0", grpc: null}}
exporters: {call_log: {LOG}}
service: {data_dir: /tmp/somewhere, pipelines: {main: {receivers: [otlp], exporters: [call_log]}}}
"""
LEVEL, FORMAT, DIR = "OTEL_BRIDGE_LLM_LOG", "OTEL_BRIDGE_LLM_LOG_FORMAT", "OTEL_BRIDGE_LLM_LOG_DIR"
PREFIX = "OTEL_BRIDGE_LLM_LOG_PREFIX"


def logged(environ: dict[str, str], log: str | None, folder: Path) -> Any:
    """What an exporter runs with; `log` is what a file says of it, None for no file."""
    path = folder / "bridge.yaml"
    path.write_text(FILE.replace("LOG", log or ""))
    read = plan.load(path if log is not None else None, environ=environ)
    return read.exporters["call_log"].config


@pytest.mark.parametrize(
    ("environ", "log", "expected"),
    [
        ({}, "", ("standard", "yaml", None)),
        ({}, "level: minimal, format: json, dir: logs", ("minimal", "json", "logs")),
        ({LEVEL: "full"}, "level: minimal, format: json", ("full", "json", None)),
        ({LEVEL: "off"}, "level: full", ("off", "yaml", None)),
        ({LEVEL: "", FORMAT: "jsonl"}, "level: minimal, format: json", ("minimal", "jsonl", None)),
        ({DIR: "there"}, "dir: logs", ("standard", "yaml", "there")),
        ({LEVEL: "minimal"}, None, ("minimal", "yaml", None)),
        (
            {PREFIX: "ACME_", "ACME_LLM_LOG": "full", "ACME_LLM_LOG_FORMAT": "json"},
            "level: minimal",
            ("full", "json", None),
        ),
        ({PREFIX: "ACME_", "ACME_LLM_LOG": "full", LEVEL: "minimal"}, None, ("minimal", "yaml", None)),
        ({"ACME_LLM_LOG": "full"}, "level: minimal", ("minimal", "yaml", None)),
    ],
)
def test_environment_over_file_over_default(
    environ: dict[str, str], log: str | None, expected: tuple[str, str, str | None], tmp_path: Path
) -> None:
    read = logged(environ, log, tmp_path)

    level, form, folder = expected
    assert (read.level, read.format) == (level, form)
    assert read.dir == (None if folder is None else tmp_path / folder)


@pytest.mark.parametrize("environ", [{}, {LEVEL: "off"}, {LEVEL: ""}, {FORMAT: "json"}])
def test_without_a_configuration_calls_are_logged_only_where_that_is_asked_for(environ: dict[str, str]) -> None:
    read = plan.load(None, environ=environ)

    assert list(read.exporters) == ["store"]


def test_it_is_one_exporter_beside_the_others() -> None:
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-1"}
    read = plan.load(None, environ={LEVEL: "standard", **keys})

    assert read.service.pipelines["main"].exporters == ["store", "langfuse", "call_log"]
    assert read.sources["exporters::call_log::level"].endswith(f"env {LEVEL}")


@pytest.mark.parametrize(
    ("environ", "log", "said"),
    [
        ({LEVEL: "verbose"}, None, f"{LEVEL}: must be 'off', 'minimal', 'standard' or 'full'"),
        ({LEVEL: "full", FORMAT: "xml"}, None, f"{FORMAT}: must be 'yaml', 'json' or 'jsonl'"),
        ({PREFIX: "ACME_", "ACME_LLM_LOG": "loud"}, None, "ACME_LLM_LOG: must be 'off'"),
        (
            {FORMAT: "xml"},
            "level: full",
            f"exporters::call_log::format: must be 'yaml', 'json' or 'jsonl' (the value is that of {FORMAT})",
        ),
    ],
)
def test_a_word_that_is_none_is_refused_by_the_name_of_its_variable(
    environ: dict[str, str], log: str | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(PlanError) as caught:
        logged(environ, log, tmp_path)

    [mistake] = caught.value.mistakes
    assert said in mistake


def test_a_tenants_own_words_are_overruled_too(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    tenants = "{acme: {keys: [acme-key-0123456789], exporters: {call_log: {level: full, dir: acme}}}}"
    path.write_text(FILE.replace("LOG", "").replace("pipelines", f"tenants: {tenants}, pipelines"))
    own = plan.load(path, environ={LEVEL: "minimal"}).exporters["call_log"].tenants["acme"]

    assert (own.level, own.dir) == ("minimal", tmp_path / "acme")  # type: ignore[attr-defined]


def test_a_file_without_the_exporter_says_that_the_variable_does_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text(FILE.replace("call_log: {LOG}", "store: {}").replace("[call_log]", "[store]"))

    [warning] = plan.load(path, environ={LEVEL: "full"}).warnings
    assert warning.startswith(f"{LEVEL} does nothing here: bridge.yaml has no exporter call_log; add it")
    assert plan.load(path, environ={LEVEL: "off"}).warnings == ()


def test_a_programs_own_job_file_says_the_same(tmp_path: Path) -> None:
    """What stands beside it comes first, and the environment before both."""
    (tmp_path / "job.json").write_text(
        '{"llm_logging": {"level": "full", "format": "json", "dir": "logs"}, "steps": []}'
    )

    by_job = logged({}, "job: job.json", tmp_path)
    by_file = logged({}, "level: full, format: json, dir: logs", tmp_path)
    assert by_job.model_dump(exclude={"job"}) == by_file.model_dump(exclude={"job"})
    assert logged({FORMAT: "jsonl"}, "job: job.json, level: minimal", tmp_path).model_dump(
        include={"level", "format"}
    ) == {"level": "minimal", "format": "jsonl"}


def test_a_job_file_may_switch_it_off(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"llm_logging": {"enabled": false, "level": "full", "sanitize": false}}')

    assert logged({}, "job: job.json", tmp_path).level == "off"
    assert logged({LEVEL: "minimal"}, "job: job.json", tmp_path).level == "minimal"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (None, "there is no file job.json"),
        ("{", "job.json is not JSON"),
        ("[]", "job.json has no llm_logging"),
        ('{"llm_logging": {"levle": "full"}}', "job.json llm_logging::levle: no such key, did you mean level?"),
        ('{"llm_logging": {"enabled": "no"}}', "job.json llm_logging::enabled: must be true or false"),
        ('{"llm_logging": {"sanitize": true}}', "job.json llm_logging::sanitize: it is the processor redact"),
        ('{"llm_logging": {"level": "loud"}}', "exporters::call_log::level: must be 'off'"),
    ],
)
def test_a_job_file_that_can_not_be_followed_is_refused(job: str | None, said: str, tmp_path: Path) -> None:
    if job is not None:
        (tmp_path / "job.json").write_text(job)

    with pytest.raises(PlanError) as caught:
        logged({}, "job: job.json", tmp_path)
    [mistake] = caught.value.mistakes
    assert said in mistake
