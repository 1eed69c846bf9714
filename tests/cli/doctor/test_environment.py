"""Each thing in an environment that stands in the way has a line of its own, with what to do."""

import re
from pathlib import Path

import pytest

from otel_bridge.cli.doctor.environment import OURS, environment
from otel_bridge.cli.doctor.finding import Level

ENDPOINT, PROTOCOL, HEADERS = (f"OTEL_EXPORTER_OTLP_{what}" for what in ("ENDPOINT", "PROTOCOL", "HEADERS"))
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
HTTP = {PROTOCOL: "http/protobuf"}
GRPC = {PROTOCOL: "grpc"}
KEYS = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-5ec7e7"}
HERE = "http://127.0.0.1:4318"

PLANTED = {
    "disabled": ({"OTEL_SDK_DISABLED": "True"}, Level.FAULT, "OTEL_SDK_DISABLED=true, so every program", "unset it"),
    "half disabled": ({"OTEL_SDK_DISABLED": "1"}, Level.WARNING, "OTEL_SDK_DISABLED is neither true nor", "write one"),
    "kill switch": ({"OTEL_BRIDGE_ENABLED": "off"}, Level.FAULT, "OTEL_BRIDGE_ENABLED is false", "unset it"),
    "no exporter": ({"OTEL_TRACES_EXPORTER": "none"}, Level.FAULT, "OTEL_TRACES_EXPORTER=none", "write otlp"),
    "sampler": ({"OTEL_TRACES_SAMPLER": "always_off"}, Level.FAULT, "OTEL_TRACES_SAMPLER leaves out every", "unset"),
    "langfuse off": ({"LANGFUSE_TRACING_ENABLED": "0"}, Level.WARNING, "LANGFUSE_TRACING_ENABLED is false", "unset"),
    "no scheme": ({ENDPOINT: "localhost:4318", **HTTP}, Level.FAULT, f"{ENDPOINT} is no address", "http://HOST:4318"),
    "no port": ({ENDPOINT: "http://h:port", **HTTP}, Level.FAULT, f"{ENDPOINT} is no address", "http://HOST:4318"),
    "file": ({ENDPOINT: "file:///x"}, Level.FAULT, f"{ENDPOINT} is no address", "write it as http://HOST:4318"),
    "doubled": ({ENDPOINT: f"{HERE}/v1/traces", **HTTP}, Level.FAULT, "ends in /v1/traces", f"write {HERE}"),
    "twice": ({TRACES: f"{HERE}/v1/traces/v1/traces/", **HTTP}, Level.FAULT, "/v1/traces doubled", f"{HERE}/v1/traces"),
    "missing": ({TRACES: HERE, **HTTP}, Level.FAULT, f"{TRACES} is used as it is", f"write {HERE}/v1/traces"),
    "http to grpc": ({ENDPOINT: "http://b:4317", **HTTP}, Level.FAULT, "has the port 4317, of grpc", "write port 4318"),
    "grpc to http": ({ENDPOINT: HERE, **GRPC}, Level.FAULT, "has the port 4318, of http/protobuf", "write port 4317"),
    "no protocol": ({ENDPOINT: HERE}, Level.WARNING, "many SDKs speak the other", f"set {PROTOCOL}=http/protobuf"),
    "protocol": ({PROTOCOL: "http"}, Level.FAULT, f"{PROTOCOL}=http is no protocol", "write http/protobuf or grpc"),
    "langfuse grpc": (
        {ENDPOINT: "https://cloud.langfuse.com/api/public/otel", **GRPC}, Level.FAULT, "takes no gRPC", "=http/protobuf"
    ),
    "headers": ({HEADERS: "Authorization: Bearer x"}, Level.FAULT, f"{HEADERS} is not read", "authorization=Bearer%20"),
    "common name": ({"LANGFUSE_HOST": "http://h"}, Level.WARNING, "LANGFUSE_HOST is taken for", "write that"),
    "misspelt": ({"LANGFUSE_SECRETKEY": "x"}, Level.FAULT, "nobody reads LANGFUSE_SECRETKEY", "LANGFUSE_SECRET_KEY"),
    "ours misspelt": ({"OTEL_BRIDGE_VEIWER": "x"}, Level.FAULT, "nobody reads", "OTEL_BRIDGE_VIEWER"),
    "otlp misspelt": ({"OTEL_EXPORTER_OLTP_ENDPOINT": HERE}, Level.FAULT, "nobody reads", ENDPOINT),
    "mistyped": ({"LANFUSE_PUBLIC_KEY": "x"}, Level.FAULT, "nobody reads LANFUSE_PUBLIC_KEY", "LANGFUSE_PUBLIC_KEY"),
    "one key": ({"LANGFUSE_PUBLIC_KEY": "pk"}, Level.FAULT, "LANGFUSE_SECRET_KEY is not set", "set it as well"),
    "exchanged": (
        {"LANGFUSE_PUBLIC_KEY": "sk-lf-5ec7e7", "LANGFUSE_SECRET_KEY": "pk"}, Level.FAULT, "wrong way round", "exchange"
    ),
    "quoted": ({**KEYS, "LANGFUSE_BASE_URL": '"http://h"'}, Level.FAULT, "LANGFUSE_BASE_URL has quotes", "leave them"),
}  # fmt: skip


@pytest.mark.parametrize(("environ", "level", "said", "remedy"), PLANTED.values(), ids=PLANTED)
def test_each_has_its_own_line(environ: dict[str, str], level: Level, said: str, remedy: str) -> None:
    [found] = environment(environ)
    assert (found.level, said in found.said, remedy in found.said) == (level, True, True), found.said
    assert "5ec7e7" not in found.said


def test_together_they_have_all_their_lines() -> None:
    names = ("disabled", "doubled", "one key", "headers", "common name")
    together: dict[str, str] = {}
    for name in names:
        together |= PLANTED[name][0]
    assert len(environment(together)) == len(names)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {**KEYS, "LANGFUSE_BASE_URL": "http://h:3000", "LANGFUSE_SAMPLE_RATE": "0.5", "LANGFUSE_INIT_ORG_ID": "x"},
        {ENDPOINT: HERE, **HTTP, HEADERS: "authorization=Bearer%20x, tenant=acme"},
        {ENDPOINT: "b:4317", **GRPC},
        {TRACES: f"{HERE}/v1/traces", **HTTP},
        {ENDPOINT: "https://cloud.langfuse.com/api/public/otel", **HTTP},
        {"OTEL_SDK_DISABLED": "false", "OTEL_TRACES_EXPORTER": "otlp", "LANGFUSE_TRACING_ENABLED": "true"},
    ],
)
def test_what_is_well_is_said_to_be(environ: dict[str, str]) -> None:
    assert [found.level for found in environment(environ)] == [Level.OK]


def test_a_password_in_an_address_is_not_shown() -> None:
    [found] = environment({ENDPOINT: "http://me:5ec7e7@b:4318/v1/traces", **HTTP})
    assert found.said.endswith("write http://***@b:4318")


def test_our_own_variables_are_those_on_the_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "variables.md").read_text(encoding="utf-8")
    assert set(OURS) == set(re.findall(r"^\| `(OTEL_BRIDGE_[A-Z_]+)`", page, re.MULTILINE))


@pytest.mark.parametrize(
    "name",
    [
        *("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_NODE_RESOURCE_DETECTORS"),
        *("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "OTEL_PYTHON_LOG_CORRELATION", "OTEL_LOG_USER_PROMPTS"),
    ],
)
def test_variables_of_others_are_not_taken_for_mistakes(name: str) -> None:
    assert [one.said for one in environment({name: "http://b:9"}) if "nobody reads" in one.said] == []
