"""Why an exporter failed, which it tells its log alone, and what helps."""

import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator

from otel_bridge.sdk.values import words

UNTRUSTED = "certificate verify failed"
UNREACHED = re.compile(rf"\[Errno -?\d+\] [^'\")>]+|{UNTRUSTED}(?:: [^'\"()]*[^'\"() ])?")  # no answer has come
BY_GRPC, BY_HTTP = "gRPC answers there, and no HTTP", "HTTP answers there, and no gRPC"
WITHOUT_TLS = "nobody speaks TLS there"
NO_HEADER = "a header can not be sent, for a line break or letters that no header has"
MISTAKEN = (  # what exporters log where somebody speaks otherwise, or nothing can be asked → said in words
    (re.compile(r"BadStatusLine\(.\\x00\\x00(?:\\x..|\\?.)\\x04"), BY_GRPC),  # the settings that HTTP/2 begins with
    (re.compile(r"connect an http1\.x server|got frame type (?:80|79)\b"), BY_HTTP),  # of `HTTP/1.1`, and `<!DOCTYPE`
    (re.compile(r"WRONG_VERSION_NUMBER"), WITHOUT_TLS),
    (
        re.compile(r"in header (?:name|value): |'latin-1' codec can't encode"),
        NO_HEADER,
    ),  # behind which the key is shown
)
REASONS = (  # in what exporters log, the surest first
    UNREACHED,
    re.compile(r"(?<=code: )\d+, reason: .*"),
    re.compile(r"(?<=error ).*(?= encountered while)"),
    re.compile(r"StatusCode\.[A-Z_]+"),
)
UNASKED = re.compile(r"(?<=code: None, reason: ).+")  # as where no thread can be started for it; else another has said
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PATH = re.compile(r"/v1/(?:traces|logs|metrics)")
HINTS = {  # what helps, by what is in the reason
    BY_GRPC: "OTEL_EXPORTER_OTLP_PROTOCOL=grpc speaks to it, or name the port for HTTP: a bridge has 4318",
    BY_HTTP: "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf speaks to it, or name the port for gRPC: a bridge has 4317",
    NO_HEADER: "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20… shows a key",
    WITHOUT_TLS: "OTEL_EXPORTER_OTLP_ENDPOINT begins with http:// then, or names a port that has TLS",
    UNTRUSTED: "OTEL_EXPORTER_OTLP_CERTIFICATE names whom to trust",
    "401": "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20… shows a key",
    "UNAUTHENTICATED": "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20… shows a key",
}
TRUSTED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # by `requests`, whomever its user names
NO_PATH = f"Nothing takes OTLP at that address: {ENDPOINT} is that of a bridge's receiver, without a path"
PATH_TWICE = f"{ENDPOINT} is an address without a path, as /v1/traces and /v1/logs are put behind it: leave that out"
HINT = "Is a bridge there? `otel-bridge` starts one, OTEL_EXPORTER_OTLP_ENDPOINT names another"


class _Here(threading.local):
    """What a thread does: whether it is one of ours that exports, and whom it tells that nobody was reached."""

    is_ours = False
    tell: Callable[[str], None] | None = None


class Heard(logging.Filter):
    """Hears in the log why an exporter failed, which it tells nobody else.

    Of what is exported in `listening` nothing is let through, as that is said once in a while; who exports otherwise
    has a word of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[int | None, str] = {}  # what sends logs in its own thread
        self._here = _Here()

    @contextlib.contextmanager
    def listening(self, tell: Callable[[str], None] | None = None) -> Iterator[None]:
        """Hear what this thread logs meanwhile; tell why nobody was reached, by each try that an exporter makes.

        Who answers that it is busy may take the next one. Within another one what that has heard is kept for it: what
        is heard here is to be taken before this is over.
        """
        here, thread = self._here, threading.get_ident()
        around = here.is_ours, here.tell
        before = self._of.pop(thread, None)  # else of a try before, or of a thread that had this number
        here.is_ours, here.tell = True, tell
        try:
            yield
        finally:
            here.is_ours, here.tell = around
            if here.is_ours:
                self._of.pop(thread, None)
                if before is not None:
                    self._of[thread] = before

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._here.is_ours:
            return True
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - what is logged is broken, which is no failure of what sends
            said = words(record.msg)
        if in_words := mistaken(said):
            self._heard(in_words, is_of_nobody=True)
        elif found := next(filter(None, (reason.search(said) for reason in REASONS)), None):
            self._heard(found[0], is_of_nobody=UNREACHED.match(found[0]) is not None)
        elif found := UNASKED.search(said):
            self._of.setdefault(threading.get_ident(), found[0])
        return False

    def _heard(self, why: str, *, is_of_nobody: bool) -> None:
        """is_of_nobody: of nobody who could take anything; trying again is of no use then."""
        self._of[threading.get_ident()] = why
        if is_of_nobody and (tell := self._here.tell) is not None:
            tell(words(why))

    def take(self, thread: threading.Thread | None) -> str:
        """Why the last try of a thread failed, as far as that was heard."""
        return words(self._of.pop(thread.ident if thread else None, ""))


HEARD = Heard()


def mistaken(said: str) -> str | None:
    """Where somebody speaks otherwise, or nothing can be asked, that in words; None where that is not it."""
    return next((in_words for pattern, in_words in MISTAKEN if pattern.search(said)), None)


def raised(error: BaseException) -> str:
    """What an exporter has raised, in words."""
    said = f"{type(error).__name__}: {words(error)}"
    return mistaken(said) or said


def without_header(record: logging.LogRecord) -> bool:
    """A filter: what OpenTelemetry logs of a header that it can not read goes without it, as it may be a key."""
    if record.args:
        record.args = ("(not shown, as it may be a key)",)
    return True


def hint(why: str, where: str | None = None) -> str:
    """What helps, as far as the reason and the address tell."""
    overruled = UNTRUSTED in why and next((name for name in TRUSTED if os.environ.get(name)), None)
    if overruled:
        return f"{overruled} is set, which overrules OTEL_EXPORTER_OTLP_CERTIFICATE: unset it"
    if why.startswith("404"):
        said = where or ""
        is_path_given = said == os.environ.get(ENDPOINT) and PATH.search(said)  # it has another behind it
        return PATH_TWICE if is_path_given or len(PATH.findall(said)) > 1 else NO_PATH
    return next((helps for word, helps in HINTS.items() if word in why), HINT)
