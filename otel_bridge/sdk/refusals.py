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
REASONS = (  # in what exporters log, the surest first
    UNREACHED,
    re.compile(r"(?<=code: )\d+, reason: .*"),
    re.compile(r"(?<=error ).*(?= encountered while)"),
    re.compile(r"StatusCode\.[A-Z_]+"),
)
UNASKED = re.compile(r"(?<=code: None, reason: ).+")  # as where no thread can be started for it; else another has said
HINTS = {  # what helps, by what is in the reason
    UNTRUSTED: "OTEL_EXPORTER_OTLP_CERTIFICATE names whom to trust",
    "401": "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20… shows a key",
    "UNAUTHENTICATED": "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20… shows a key",
}
TRUSTED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # by `requests`, whomever its user names
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
        if found := next(filter(None, (reason.search(said) for reason in REASONS)), None):
            self._of[threading.get_ident()] = found[0]
            if (tell := self._here.tell) is not None and UNREACHED.match(found[0]):
                tell(words(found[0]))
        elif found := UNASKED.search(said):
            self._of.setdefault(threading.get_ident(), found[0])
        return False

    def take(self, thread: threading.Thread | None) -> str:
        """Why the last try of a thread failed, as far as that was heard."""
        return words(self._of.pop(thread.ident if thread else None, ""))


HEARD = Heard()


def hint(why: str) -> str:
    """What helps, as far as the reason tells."""
    overruled = UNTRUSTED in why and next((name for name in TRUSTED if os.environ.get(name)), None)
    if overruled:
        return f"{overruled} is set, which overrules OTEL_EXPORTER_OTLP_CERTIFICATE: unset it"
    return next((helps for word, helps in HINTS.items() if word in why), HINT)
