"""`otel-bridge healthcheck` against servers that are well, ill, strange, or not there."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from otel_bridge.announcement import announced
from otel_bridge.cli.healthcheck import check


@contextmanager
def answering(status: int, said: bytes = b"", told: bytes | None = None) -> Iterator[str]:
    """A server that gives the same answer to everything; told: what it says of itself."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tells = told is not None and self.path == "/api/v1/status"
            self.send_response(200 if tells else status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(told if told is not None and tells else said)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (302, 1)])
def test_what_it_answers_decides(status: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(status) as url:
        assert check(["--url", url]) == code

    assert url in capsys.readouterr().out


def test_it_says_what_is_parked_and_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    """In a word, where nobody says more, as `health` does not."""
    with answering(200, b"ready, configuration rejected, 2 parked\n") as url:
        assert check(["--url", url]) == 0

    assert "healthy, but configuration rejected, 2 parked\n" in capsys.readouterr().out


def test_it_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(503, b"not ready\x1b[2J\n") as url:
        assert check(["--url", url]) == 1

    assert "answered 503: not ready\\x1b[2J\n" in capsys.readouterr().out


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200) as url:
        pass

    assert check(["--url", url]) == 3
    assert "nobody answers" in capsys.readouterr().out


def test_the_bridge_of_the_data_dir_is_asked(tmp_path: Path) -> None:
    with answering(200) as url, announced(tmp_path, {"viewer": {"http": url}}):
        assert check(["--data-dir", str(tmp_path)]) == 0


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1:1", "http://127.0.0.1:99999", "http://[::1"])
def test_no_address(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(["--url", url]) == 2
    assert "is no address" in capsys.readouterr().out


def test_the_configuration_names_the_bridge(tmp_path: Path) -> None:
    config = tmp_path / "bridge.yaml"
    config.write_text(f"service: {{data_dir: {tmp_path}}}")

    with answering(200) as url, announced(tmp_path, {"viewer": {"http": url}}):
        assert check(["--config", str(config)]) == 0


def test_after_a_kill_its_last_address_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the default one, where another bridge may be."""
    left = {"pid": 2**22 + 1, "endpoints": {"viewer": {"viewer": "http://127.0.0.1:1"}}}
    (tmp_path / "bridge.json").write_text(json.dumps(left))

    assert check(["--data-dir", str(tmp_path)]) == 3
    assert "http://127.0.0.1:1: nobody answers" in capsys.readouterr().out


@pytest.mark.parametrize("killed", [True, False])
def test_the_bridge_of_another_data_dir_is_not_the_one_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], killed: bool
) -> None:
    """It may have the address of one that was killed, or the usual one, and be well or not."""
    for code in (200, 503):
        with answering(
            code, told=json.dumps({"data_dir": "/else\x1bwhere", "configuration_rejected": None}).encode()
        ) as url:
            if killed:
                left = {"pid": 2**22 + 1, "endpoints": {"viewer": {"viewer": url}}}
                (tmp_path / "bridge.json").write_text(json.dumps(left))
            monkeypatch.setenv("OTEL_BRIDGE_VIEWER", url.removeprefix("http://"))
            assert check(["--data-dir", str(tmp_path)]) == 3
            said = capsys.readouterr().out
            assert said.startswith(f"{url}: the bridge on /else\\x1bwhere answers, and none runs on {tmp_path}; ")
            assert check(["--url", url]) == (0 if code == 200 else 1), "which names no data dir"
            capsys.readouterr()


@pytest.mark.parametrize("folder", [".", "link"])
def test_a_bridge_that_has_not_announced_itself_yet_is_known_by_its_data_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    told = json.dumps({"data_dir": str(tmp_path), "configuration_rejected": None}).encode()
    with answering(200, told=told) as url:
        monkeypatch.setenv("OTEL_BRIDGE_VIEWER", url.removeprefix("http://"))
        assert check(["--data-dir", str(tmp_path / folder)]) == 0


@pytest.mark.parametrize("told", [b"[]", b"{", b'{"data_dir": 7}', b"[" * 100_000])
def test_what_tells_no_data_dir_may_be_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bytes) -> None:
    with answering(200, told=told) as url:
        monkeypatch.setenv("OTEL_BRIDGE_VIEWER", url.removeprefix("http://"))
        assert check(["--data-dir", str(tmp_path)]) == 0


def test_before_the_first_start_the_environment_says_where_it_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_BRIDGE_VIEWER", "127.0.0.1:1")

    assert check(["--data-dir", str(tmp_path)]) == 3
    assert capsys.readouterr().out.startswith("http://127.0.0.1:1: ")


@pytest.mark.parametrize(("text", "code"), [("service: [", 78), ("service: {data_dir: nowhere}", 2)])
def test_a_configuration_that_does_not_say(
    tmp_path: Path, text: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "bridge.yaml"
    config.write_text(text)

    assert check(["--config", str(config), "--json"]) == code
    assert "bridge.yaml" in json.loads(capsys.readouterr().out)["answer"]
