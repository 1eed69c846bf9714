"""Whatever a handler of the program's logs does, the agent goes on, and so does what sends."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider

from otel_bridge.sdk import feedback, instrument, score
from otel_bridge.sdk.batch import environ
from otel_bridge.sdk.installing import TALKATIVE, quiet
from otel_bridge.sdk.open_spans import OpenSpans
from otel_bridge.sdk.refusals import HEARD
from otel_bridge.sdk.saying import log, public
from tests.sdk.senders import made


class Raising(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


@pytest.fixture(params=[RuntimeError("log shipping is down"), SystemExit(3)])
def raising(request: pytest.FixtureRequest) -> Iterator[None]:
    handler = Raising(request.param)
    logging.getLogger("otel_bridge.sdk").addHandler(handler)
    yield
    logging.getLogger("otel_bridge.sdk").removeHandler(handler)


@pytest.mark.usefixtures("raising")
def test_what_sends_goes_on_and_the_agent_hears_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    is_up = threading.Event()
    sent: list[str] = []

    def send(items: Sequence[str]) -> bool:
        sent.extend(items if is_up.is_set() else ())
        return is_up.is_set()

    sender = made(send, delay_s=0, max_queue=2)
    sender.put("a", 1)
    assert sender.flush(5) is False
    is_up.set()
    assert sender.flush(20) is True
    sender.shutdown()
    sender.put("late", 1)
    assert (sent, sender.dropped) == (["a"], {"after_shutdown": 1})
    told = capsys.readouterr().err
    assert "nothing can be sent: the exporter says that it failed" in told
    assert "the program's log raised" in told


@pytest.mark.usefixtures("raising")
@pytest.mark.parametrize(
    "says",
    [
        lambda: score("helpful", object()),  # type: ignore[arg-type]
        lambda: feedback("sideways"),  # type: ignore[arg-type]
        lambda: instrument(object(), kind="no kind"),
        lambda: environ("OTEL_BRIDGE_EXIT_SECONDS", 1.0, least=2**70),
    ],
)
def test_nothing_that_is_said_comes_back(
    says: Callable[[], object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BRIDGE_EXIT_SECONDS", "soon")
    says()
    assert "the program's log raised" in capsys.readouterr().err


@pytest.mark.usefixtures("raising")
def test_a_span_that_can_not_be_ended_keeps_no_other_open() -> None:
    class Stubborn(SpanProcessor):
        def on_end(self, span: object) -> None:
            raise RuntimeError("no")

    open_spans = OpenSpans(beat_s=None)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    provider.add_span_processor(Stubborn())
    spans = [provider.get_tracer("test").start_span(str(number)) for number in range(2)]
    open_spans.interrupt("SIGTERM")
    assert [isinstance(span, Span) and span.is_recording() for span in spans] == [False, False]


def test_the_line_that_is_shown_is_that_of_who_says_it(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("otel-bridge: %s", "said")
    try:
        int("no")
    except ValueError:
        log.exception("otel-bridge: failed")
    assert [(record.filename, record.funcName) for record in caplog.records] == [
        ("test_saying.py", "test_the_line_that_is_shown_is_that_of_who_says_it")
    ] * 2
    assert "ValueError: invalid literal" in caplog.text


def test_what_an_exporter_logs_wrongly_is_no_failure() -> None:
    record = logging.LogRecord("exporter", logging.ERROR, "", 0, "%s: %d", ("too few",), None)
    with HEARD.listening():
        assert HEARD.filter(record) is False


def test_an_exporter_of_somebody_elses_has_its_own_word(caplog: pytest.LogCaptureFixture) -> None:
    """The program's own processor of spans, or its metrics, which go elsewhere: nobody else would say it."""
    quiet()
    exporting = logging.getLogger(TALKATIVE[0])

    def send(_items: Sequence[str]) -> bool:
        exporting.error("ours: Failed to export [Errno 111] Connection refused")
        return False

    sender = made(send)
    sender.put("a", 1)
    assert sender.flush(20) is False
    exporting.error("theirs: Failed to export")
    sender.shutdown()
    said = [record.message for record in caplog.records if record.name == TALKATIVE[0]]
    assert said == ["theirs: Failed to export"]
    assert "[Errno 111] Connection refused" in caplog.text


def test_the_reason_of_a_failure_is_the_surest_that_was_heard() -> None:
    def heard(*lines: str) -> str:
        for line in lines:
            HEARD.filter(logging.LogRecord("exporter", logging.ERROR, "", 0, line, (), None))
        return HEARD.take(threading.current_thread())

    no_time = "Failed to export spans batch code: None, reason: Attempted to set connect timeout to 0.0"
    with HEARD.listening():
        assert heard("Transient error [Errno 111] Connection refused> encountered, retrying in 1s.", no_time) == (
            "[Errno 111] Connection refused"
        )
        assert heard("Failed to export spans batch code: None, reason: can't create new thread") == (
            "can't create new thread"
        )
        assert heard("Failed to export spans batch code: 401, reason: Unauthorized", no_time) == (
            "401, reason: Unauthorized"
        )


def test_what_a_thread_of_the_same_number_has_heard_before_is_not_told() -> None:
    with HEARD.listening():
        HEARD.filter(logging.LogRecord("exporter", logging.ERROR, "", 0, "code: 503, reason: busy", (), None))
    with HEARD.listening():
        assert HEARD.take(threading.current_thread()) == ""


def test_an_export_within_another_hears_its_own_and_leaves_the_other_what_that_has_heard() -> None:
    """As by a handler of a signal, which comes in the midst of one."""

    def hear(line: str) -> bool:
        return HEARD.filter(logging.LogRecord("exporter", logging.ERROR, "", 0, line, (), None))

    outer: list[str] = []
    with HEARD.listening(outer.append):
        hear("code: 503, reason: busy")
        with HEARD.listening():
            hear("[Errno 111] Connection refused")
            assert HEARD.take(threading.current_thread()) == "[Errno 111] Connection refused"
        assert HEARD.take(threading.current_thread()) == "503, reason: busy"
        assert hear("[Errno 113] No route to host") is False, "this is ours still"
        assert outer == ["[Errno 113] No route to host"]
    assert hear("theirs: Failed to export") is True


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:5ec7e7@b:4318/v1/traces", "http://***@b:4318/v1/traces"),
        ("https://me:5e@c7e7@b", "https://***@b"),
        ("me:5ec7e7@b:4317", "***@b:4317"),
        ("http://b:4318/of/@me", "http://b:4318/of/@me"),
        ("b:4317", "b:4317"),
    ],
)
def test_who_is_to_be_shown_to_an_address_is_not_said(address: str, shown: str) -> None:
    assert public(address) == shown
