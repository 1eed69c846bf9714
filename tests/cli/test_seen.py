"""The line at the end of `otel-bridge run`: what was seen of the program, or why nothing was."""

import json
import socket
import ssl
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from otel_bridge.announcement import announce
from otel_bridge.cli.asking import LateError
from otel_bridge.cli.found import Viewer
from otel_bridge.cli.refused import refused, since
from otel_bridge.cli.run import _parse, _refused_before, ended_by
from otel_bridge.cli.seen import ABOUT_ACCESS, not_taken, seen_by_bridge, told
from otel_bridge.tls import REASONS, VERIFY_CODES, reason_of
from tests.cli.programs import run


def test_of_a_bridge_that_goes_on_it_is_asked_when_nothing_is_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest trace is the one to look at; what tokens an open one has is not known yet."""
    one = {"totalTokens": None, "totalCost": None, "errorCount": 0, "settled": True, "tenant": "default"}
    pages = {
        None: {"traces": [{**one, "id": "small", "observationCount": 1}], "nextCursor": "more"},
        "more": {
            "traces": [{**one, "id": "large", "observationCount": 9, "totalTokens": 7, "settled": False}],
            "nextCursor": None,
        },
    }
    left, asked = [0, 2, 1], []

    def answer(_viewer: Viewer, path: str, query: dict[str, str] | None = None, **_more: Any) -> dict[str, Any]:
        asked.append(path)
        if query is not None:
            return pages[query.get("cursor")]
        lane = {"waiting": left.pop(), "parked": None, "why": None}
        return {"counters": [], "outcomes": [], "exporters": {"a/b/store": {"default": lane}}}

    monkeypatch.setattr("otel_bridge.cli.seen.ask", answer)
    monkeypatch.setattr("otel_bridge.cli.questions.ask", answer)
    seen = seen_by_bridge(Viewer.at("http://127.0.0.1:1"), datetime.now(UTC), {}, stopped=lambda: False)
    assert seen is not None
    assert asked == ["/api/v1/status"] * 3 + ["/api/v1/traces"] * 2
    assert (seen["largest"], seen["spans"], seen["tokens"], seen["all"]) == ("large", 10, None, True)
    assert told(seen) == "2 traces · 10 spans · open for some seconds more · otel-bridge trace large"


def test_what_there_is_to_know_of_the_program_is_in_one_line() -> None:
    seen = {"traces": ["a", "b"], "largest": "abcdef0123", "spans": 12, "tokens": 7, "cost": 0.0123, "errors": 2}
    assert told({**seen, "all": True, "settled": True}) == (
        "2 traces · 12 spans · 7 tokens · $0.012 · 2 errors · otel-bridge trace abcdef01"
    )


def test_the_command_that_is_named_looks_where_the_program_was_seen(tmp_path: Path) -> None:
    """A configuration that was named is named there, too; one in a variable is there already."""
    seen = {"traces": ["abc"], "spans": 1, "tokens": 0, "cost": 0, "errors": 0, "all": True, "settled": True}
    for words, again in (
        (["--config", "my bridge.yaml", "--", "true"], " --config 'my bridge.yaml'"),
        (["--json", "-c", "bridge.yaml", "--", "true"], " --config bridge.yaml"),
        (["true"], ""),
    ):
        assert told({**seen, "largest": "abc"}, _parse(words).again).endswith(f"otel-bridge trace abc{again}")


def test_what_is_refused_at_the_viewers_door_is_not_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = [
        {"name": "tls_refused", "component": "otlp", "reason": "no_certificate", "value": 3},
        {"name": "tls_refused", "component": "viewer", "reason": "no_certificate", "value": 4},
        {"name": "refused", "reason": "unauthenticated", "value": 2},
        {"name": "received", "value": 9},
    ]
    monkeypatch.setattr("otel_bridge.cli.refused.ask", lambda *_asked, **_more: {"counters": counters})
    assert refused(Viewer.at("http://127.0.0.1:1")) == {"no_certificate": 3, "unauthenticated": 2}


def test_who_lacks_a_key_is_told_so_and_not_that_nothing_is_instrumented() -> None:
    seen = {"traces": [], "refused": {"unauthenticated": 2}}

    assert told(seen) == (
        "no spans came, and the bridge refused 2 requests meanwhile: unauthenticated; see docs/access.md"
    )


@pytest.mark.parametrize("reason", ["too_large", "too_many_connections", "wrong_protocol", "refused", "of_a_plugin"])
def test_what_is_no_question_of_access_is_looked_up_elsewhere(reason: str) -> None:
    line = told({"traces": [], "refused": {reason: 1}})
    assert line.endswith(f"{reason}; see docs/operating.md#senders-that-ask-too-much")


def test_why_tls_does_not_come_about_is_a_question_of_access() -> None:
    unverified, alert = ssl.SSLCertVerificationError(), ssl.SSLError()
    unverified.verify_code, alert.reason = 1, "TLSV1_ALERT_UNKNOWN_CA"
    others = [reason_of(error) for error in (unverified, alert, ssl.SSLError())]
    words = [*REASONS.values(), *VERIFY_CODES.values(), *others]
    assert {word for word, _ in words} <= ABOUT_ACCESS


def test_what_the_bridge_has_refused_to_others_before_is_not_told_of() -> None:
    assert since({"unauthenticated": 2, "too_large": 1}, {"unauthenticated": 2, "too_large": 3}) == {"too_large": 2}


class _Refuses(BaseHTTPRequestHandler):
    """A bridge that takes nothing from anybody, and says so."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path.partition("?")[0])
        times = 5 + self.asked.count("/v1/traces")
        counters = [{"name": "refused", "reason": "unauthenticated", "value": times}]
        said = {"counters": counters, "outcomes": [], "exporters": {}, "traces": [], "nextCursor": None}
        self.send_response(401 if self.path == "/v1/traces" else 200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_said: Any) -> None:
        """Nobody asks."""


@pytest.mark.slow
def test_what_it_refuses_to_a_program_that_is_quick_is_told_of(tmp_path: Path) -> None:
    """What it had refused before is known before the program begins."""
    _Refuses.asked.clear()
    sends = "import os, urllib.request as u; u.urlopen(os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'] + '/v1/traces')"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as bridge:
        threading.Thread(target=bridge.serve_forever).start()
        at = {"http": f"http://127.0.0.1:{bridge.server_port}"}
        announce(tmp_path, {"otlp": at, "viewer": at})  # as if this process were that bridge
        done = run(tmp_path, "--", sys.executable, "-S", "-c", sends)
        bridge.shutdown()
    assert _Refuses.asked == ["/api/v1/status", "/v1/traces", "/api/v1/status", "/api/v1/traces"]
    assert "no spans came, and the bridge refused 1 request meanwhile: unauthenticated" in done.stderr


def test_a_program_does_not_wait_long_for_a_viewer_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is not told what the bridge has refused, as that may have been to others."""
    monkeypatch.setattr("otel_bridge.cli.run.BEFORE_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = _refused_before(Viewer.at(f"http://127.0.0.1:{silent.getsockname()[1]}"), None)
    assert before is None
    assert since(before, {"unauthenticated": 2}) == {}


def test_a_viewer_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is asked, all of it together; and nobody is told to start a bridge, as one is there."""
    monkeypatch.setattr("otel_bridge.cli.seen.ANSWERS_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        seen = seen_by_bridge(Viewer.at(url), datetime.now(UTC), {}, stopped=lambda: False)
    assert time.monotonic() - began < 5
    assert seen is not None
    assert told(seen).startswith(f"what listens at {url} does not answer (")


def test_of_a_bridge_that_is_slow_it_is_told_what_it_has_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has many traces may not have told all of them when the time is up; it does not hang."""
    found = {"id": "a", "observationCount": 2, "totalTokens": 7, "totalCost": None, "errorCount": 0, "settled": True}

    def answer(_viewer: Viewer, path: str, query: dict[str, str] | None = None, **_more: Any) -> dict[str, Any]:
        if query is None:
            return {"counters": [], "outcomes": [], "exporters": {}}
        if "cursor" in query:
            raise LateError("no whole answer in 0.1 s")
        return {"traces": [{**found, "tenant": "default"}], "nextCursor": "more"}

    monkeypatch.setattr("otel_bridge.cli.seen.ask", answer)
    monkeypatch.setattr("otel_bridge.cli.questions.ask", answer)
    seen = seen_by_bridge(Viewer.at("http://127.0.0.1:1"), datetime.now(UTC), {}, stopped=lambda: False)
    assert seen is not None
    assert told(seen) == "more than 1 trace · 2 spans · 7 tokens · otel-bridge trace a"


def test_who_does_not_take_it_is_named_with_the_reason_that_the_status_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the tenants that were seen; and who has never taken anything yet may not."""
    well = {"waiting": 1, "parked": None, "why": None}
    status = {
        "counters": [],
        "outcomes": [{"pipeline": "main", "exporter": "copy", "tenant": "acme", "outcome": "delivered", "items": 1}],
        "exporters": {
            "main/langfuse": {
                "acme": {**well, "parked": "unauthorized", "why": "it answered 401"},
                "other": {**well, "parked": "no_keys", "why": "it has none"},
            },
            "main/copy": {"acme": well},
            "main/new": {"acme": well, "other": {**well, "why": "nobody answers"}},
        },
    }
    row = {"id": "a", "tenant": "acme", "observationCount": 1, "totalTokens": 0, "totalCost": 0, "errorCount": 0}
    page = {"traces": [{**row, "settled": False}], "nextCursor": None}
    monkeypatch.setattr("otel_bridge.cli.seen.ask", lambda *_asked, **_more: status)
    monkeypatch.setattr("otel_bridge.cli.seen.load_traces", lambda *_asked, **_more: page)

    seen = seen_by_bridge(Viewer.at("http://127.0.0.1:1"), datetime.now(UTC), {}, stopped=lambda: False)

    assert seen is not None
    known, unknown = not_taken(seen, " -c x")
    assert known == (
        "langfuse does not take it now (unauthorized: it answered 401): it is kept, and sent when that is over;"
        " `otel-bridge status -c x` says how it goes"
    )
    assert unknown == "whether new takes it is not known yet: `otel-bridge status -c x` says so in some seconds"


def test_of_a_program_that_was_ended_nobody_says_that_it_lacks_instrumentation() -> None:
    assert told({"traces": [], "refused": {}}, "", ended_by(-9)) == "no spans came: the program was ended by SIGKILL"
    assert ended_by(-35) == "the program was ended by signal 35", "most of those for real time have no name"
    assert ended_by(1) is None


def test_of_a_program_that_failed_that_is_said_first() -> None:
    none: dict[str, Any] = {"traces": [], "refused": {}}
    said = "no spans came; the program ended with exit code 2; if it had begun its work: is the program instrumented? "
    assert told(none, code=2).startswith(said)
    assert told(none, code=0).startswith("no spans came; is the program instrumented? ")
    assert told(none, "", "OTEL_SDK_DISABLED=true is set", 2) == "no spans came: OTEL_SDK_DISABLED=true is set"
    refused = told({**none, "refused": {"unauthenticated": 1}}, code=2)
    assert refused.startswith("no spans came, and the bridge refused 1 request meanwhile")
