"""Everything raised on purpose.

Four of them are the answers of a consumer that refuses: whoever called it still holds what it handed over.
The rest end a command, each with the exit code that the command line's contract gives it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path


class BridgeError(Exception):
    """The root of all errors raised on purpose; what ends a command carries its exit code."""

    exit_code = 1


class ConsumeError(BridgeError):
    """A consumer refused; nothing of what it was given is its responsibility."""


class RetryableError(ConsumeError):
    """It may work later: the same again, after `retry_after_s` where the other side named a time."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BusyError(RetryableError):
    """It gets more than it takes from all who share a quota there, so all of them are to wait."""


class SlowError(RetryableError):
    """No answer came in time: it may work later, or with less at once."""


class RefusedError(ConsumeError):
    """The other side will never take this: find the culprit by bisecting, then dead-letter it."""


class TooLargeError(ConsumeError):
    """Too many bytes at once: split and try the halves."""


class ParkedError(ConsumeError):
    """Nothing can be delivered until somebody acts (wrong key, wrong address): keep everything, probe now and then.

    `reason` is a short word for counters and status, as `unauthorized` or `html_response`.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class JournalFullError(RetryableError):
    """The journal has reached `max_bytes`, or the disk is full: nothing was written."""


class UnwrittenError(RetryableError):
    """What changed can not be written down now, so what depends on it can not be asked."""


class MalformedError(BridgeError):
    """Bytes that are not what they claim to be; the message says where, and holds nothing of the content."""


class UsageError(BridgeError):
    """A command was called with words it cannot use."""

    exit_code = 2


class CommandError(BridgeError):
    """A program could not be run; its exit code is that of shells: 127 where there is none, 126 otherwise."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UnreachableError(BridgeError):
    """Nobody answers where the bridge or a destination should be."""

    exit_code = 3


class FilesError(BridgeError):
    """What the bridge needs for itself cannot be used: files, or an address that another program holds."""

    exit_code = 73


class AddressInUseError(FilesError):
    """Another program listens on a `host:port`; is_viewer: of a viewer, and so it may be that of another bridge."""

    def __init__(self, message: str, endpoint: str, *, is_viewer: bool = False) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.is_viewer = is_viewer


class InUseError(FilesError):
    """Another process holds the data directory."""


class PlanError(BridgeError):
    """A configuration that cannot be run; `mistakes` holds all of them, each `file:line path: what, what to do`.

    `files` is what was read, with the stamps of `otel_bridge.files`: when one of them changes it may be mended.
    """

    exit_code = 78

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)
        self.files: Mapping[Path, tuple[int, int, int, int, int] | None] = {}
