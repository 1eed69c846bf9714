"""What the answer of an HTTP destination means: it took what was sent, or one of the four errors."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from otel_bridge.errors import BusyError, ConsumeError, ParkedError, RefusedError, RetryableError, TooLargeError

BUSY = 429
RETRYABLE = frozenset({408, 409, 425})
REFUSED = frozenset({400, 422})
TOO_LARGE = 413
CAPTIVE_PORTAL = 511

PARKED = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    407: "proxy_unauthorized",
    410: "gone",
    415: "content_type",
    421: "misdirected",
    501: "not_implemented",
    CAPTIVE_PORTAL: "captive_portal",
}


def check(status: int, headers: Mapping[str, str], body: bytes, *, who: str) -> None:
    """Return if the destination took it; `headers` is looked up as `Content-Type` and `Retry-After`.

    Raises:
        RetryableError, RefusedError, TooLargeError, ParkedError: as the status says; the message starts with `who`.
    """
    refusal = error(status, headers, body, who=who)
    if refusal is not None:
        raise refusal


def error(status: int, headers: Mapping[str, str], body: bytes, *, who: str) -> ConsumeError | None:
    """The error that an answer stands for, or None where it stands for success."""
    said = answered(who, str(status), body)
    if 200 <= status < 300:
        if "text/html" not in headers.get("Content-Type", "").lower():
            return None
        return ParkedError(f"{said} - a web page: check the address, or who stands before it", "html_response")
    if status in PARKED:
        return ParkedError(f"{said} - check address and keys", PARKED[status])
    if status in REFUSED:
        return RefusedError(said)
    if status == TOO_LARGE:
        return TooLargeError(said)
    if status == BUSY:
        return BusyError(said, retry_after_s(headers.get("Retry-After")))
    if status in RETRYABLE or status >= 500:
        return RetryableError(said, retry_after_s(headers.get("Retry-After")))
    if 300 <= status < 400:
        to = excerpt(headers.get("Location", ""))
        return ParkedError(f"{said} - a redirect to {to}: write the address it leads to", "redirect")
    return ParkedError(said, f"http_{status}")


def answered(who: str, status: str, told: bytes | str) -> str:
    """What was answered, in a sentence; many say nothing with it."""
    shown = excerpt(told.strip())
    return f"{who} answered {status}: {shown}" if shown else f"{who} answered {status}"


def retry_after_s(text: str | None) -> float | None:
    """Seconds to wait as they were said, or until an HTTP date (below 0: it has passed); None: nothing sound was."""
    if text is None:
        return None
    if re.fullmatch(r"[ \t]*[0-9]{1,18}[ \t]*", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def excerpt(text: bytes | str, limit: int = 200) -> str:
    """The first `limit` characters of an answer, with … where there are more, fit for a terminal, a log and a page:
    nothing in it acts."""
    shown = text[: limit * 4 + 4].decode(errors="replace") if isinstance(text, bytes) else text
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown[:limit])
    return f"{safe}…" if len(shown) > limit else safe
