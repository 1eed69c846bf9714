"""What `otel-bridge run` sets for a program, and what somebody has set already."""

import os

import pytest

from otel_bridge.cli.run import environment, otherwise
from otel_bridge.cli.seen import told
from otel_bridge.errors import UnreachableError


def test_what_somebody_has_set_stays() -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere:4318", "PYTHONPATH": "mine", "OTEL_LOGS_EXPORTER": "none"}
    made = environment(given, "http://127.0.0.1:1")
    assert made["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://elsewhere:4318"
    assert made["PYTHONPATH"].endswith(f"{os.pathsep}mine")
    assert made["OTEL_LOGS_EXPORTER"] == "none"
    assert environment({}, "http://127.0.0.1:1")["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:1"


def test_the_address_is_that_of_the_protocol() -> None:
    http, grpc = "http://127.0.0.1:1", "http://127.0.0.1:2"
    assert environment({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, http, grpc)["OTEL_EXPORTER_OTLP_ENDPOINT"] == grpc
    mixed = environment({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, http, grpc)
    assert mixed["OTEL_EXPORTER_OTLP_ENDPOINT"] == http
    assert mixed["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == grpc
    metrics = environment({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m"}, http)
    assert metrics["OTEL_EXPORTER_OTLP_ENDPOINT"] == http
    with pytest.raises(UnreachableError, match="gRPC"):
        environment({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, http)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, None),
        ({"OTEL_SDK_DISABLED": "True"}, "OTEL_SDK_DISABLED=true is set"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "OTEL_TRACES_EXPORTER=none is set"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:9"},
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and sends them to http://a:9",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:2/"}, None),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:1/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT": "x"},
            None,
        ),
    ],
)
def test_what_the_environment_says_against_it_is_named(given: dict[str, str], why: str | None) -> None:
    found = otherwise(given, "http://127.0.0.1:1", "http://127.0.0.1:2")
    assert found == why
    line = told({"traces": [], "refused": {}}, "", found)
    assert line == f"no spans came: {why}" if why else "is the program instrumented?" in line


def test_a_run_in_a_run_is_instrumented_once() -> None:
    once = environment({}, "http://127.0.0.1:1")
    assert environment(once, "http://127.0.0.1:1") == once
