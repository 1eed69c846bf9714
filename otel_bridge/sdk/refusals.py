"""Why an exporter failed, which it tells its log alone, and what helps."""

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator

from otel_bridge.sdk.values import words

UNREACHED = re.compile(r"\[Errno -?\d+\] [^'\")>]+|CERTIFICATE_VERIFY_FAILED\][^'\")]*")  # no answer has come
REASONS = (  # in what exporters log, the surest first
    UNREACHED,
    re.compile(r"(?<=code: )\d+, reason: .*"),
    re.compile(r"(?<=error ).*(?= encountered while)"),
    re.compile(r"StatusCode\.[A-Z_]+"),
)
HINTS = {  # what helps, by what is in the reason
    "CERTIFICATE_VERIFY_FAILED": "OTEL_EXPORTER_OTLP_CERTIFICATE names whom to trust",
    "401": "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20… shows a key",
    "UNAUTHENTICATED": "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20… shows a key",
}
HINT = "Is a bridge there? `otel-bridge` starts one, OTEL_EXPORTER_OTLP_ENDPOINT names another"


class Heard(logging.Filter):
    """Hears in the log why an exporter failed, which it tells nobody else, and lets nothing of it through."""

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[int | None, str] = {}  # what sends logs in its own thread
        self._tell: dict[int, Callable[[str], None]] = {}

    @contextlib.contextmanager
    def telling(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Tell why nobody was reached, by each try that an exporter makes meanwhile in this thread.

        Who answers that it is busy may take the next one.
        """
        self._tell[threading.get_ident()] = tell
        try:
            yield
        finally:
            del self._tell[threading.get_ident()]

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - what is logged is broken, which is no failure of what sends
            said = words(record.msg)
        if found := next(filter(None, (reason.search(said) for reason in REASONS)), None):
            thread = threading.get_ident()
            self._of[thread] = found[0]
            if (tell := self._tell.get(thread)) is not None and UNREACHED.match(found[0]):
                tell(words(found[0]))
        return False

    def take(self, thread: threading.Thread | None) -> str:
        """Why the last try of a thread failed, as far as that was heard."""
        return words(self._of.pop(thread.ident if thread else None, ""))


HEARD = Heard()


def hint(why: str) -> str:
    """What helps, as far as the reason tells."""
    return next((helps for word, helps in HINTS.items() if word in why), HINT)
