"""What `otel-bridge doctor` says of where programs send to, and what it shows nobody."""

import os

import pytest

from otel_bridge.cli.doctor.endpoint import endpoint
from otel_bridge.cli.doctor.finding import Finding
from tests.cli.conftest import Run
from tests.e2e.process import free_port

OTLP = "OTEL_EXPORTER_OTLP_"
SECRET = "5ec7e7"


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def found(monkeypatch: pytest.MonkeyPatch, url: str, **said: str) -> Finding:
    for name, value in {"ENDPOINT": url, **said}.items():
        monkeypatch.setenv(f"{OTLP}{name}", value)
    [one] = endpoint(None).checked(None)
    return one


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("url", [f"http://me:{SECRET}/7@b:4318", "http://[::1"])
def test_what_is_no_address_is_not_shown(monkeypatch: pytest.MonkeyPatch, url: str, protocol: str) -> None:
    one = found(monkeypatch, url, PROTOCOL=protocol)
    assert one.said == "where programs send to is no address: write it as http://HOST:4318"


@pytest.mark.parametrize(
    ("said", "why", "words"),
    [
        (f"authorization:Bearer {SECRET}", "is not read", ()),
        (f"authorization:Bearer {SECRET}", "is not read", ("--json",)),
        (f"authorization=Bearer%20{SECRET}…", "is not read", ()),
        (f"authorization=Bearer%20{SECRET}%0D%0AX:1", "has a line break in it, or letters", ("--json",)),
        (f"authorization=Bearer%20{SECRET}%E2%80%A6", "has a line break in it, or letters", ()),
    ],
)
def test_a_key_is_in_neither_stream(run: Run, said: str, why: str, words: tuple[str, ...]) -> None:
    user = f"http://me:{SECRET}@127.0.0.1:{free_port()}"
    done = run("doctor", *words, more={f"{OTLP}HEADERS": said, f"{OTLP}ENDPOINT": user})
    assert f"{OTLP}HEADERS {why}" in " ".join(done.stdout.split())
    assert SECRET not in done.stdout
    assert done.stderr == ""
