"""A sender with its settings, and somebody who takes what it sends."""

import threading
from collections.abc import Callable, Sequence

from otel_bridge.sdk.sending import Sender


class Taking:
    """Takes items, but those that can not be taken; may be held up."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.calls: list[list[str]] = []
        self.open = threading.Event()
        self.open.set()
        self.raises: dict[str, BaseException] = {}
        self.refuses: set[str] = set()
        self.took = threading.Event()

    def __call__(self, items: Sequence[str]) -> bool:
        self.open.wait(30)
        self.calls.append(list(items))
        for item in items:
            if item in self.raises:
                raise self.raises[item]
            if item in self.refuses:
                return False
        self.taken += items
        self.took.set()
        return True


def made(
    send: Callable[[Sequence[str]], bool],
    *,
    delay_s: float = 60,
    max_batch: int = 512,
    exit_s: float = 20,
    max_queue: int = 1000,
    prepare: Callable[[], None] | None = None,
) -> Sender[str]:
    return Sender(
        "item",
        None,
        send,
        lambda: None,
        prepare=prepare,
        max_queue_bytes=64 << 20,
        max_queue=max_queue,
        delay_s=delay_s,
        max_batch=max_batch,
        exit_s=exit_s,
    )
