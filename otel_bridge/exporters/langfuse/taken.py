"""What the server took of translations that are not through yet, so that only the rest is sent again."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from otel_bridge.model import Observation, Score, Translation

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

KEPT_S = 3600.0

T = TypeVar("T", Observation, Score)


class Taken:
    """Observations, scores and events that were taken, while something that came with them was not.

    Held by id and content, so also what was cut or translated anew is known. Bounded, and for an hour since it was
    taken or held last: what still waits is tried every quarter of an hour at least, and what does not may have been
    deleted on the server since. What falls out is sent twice, which is once: the ids are the same.
    """

    def __init__(self, limit: int = 50_000, now: Callable[[], float] = time.time) -> None:
        self._content: OrderedDict[str, tuple[str, float]] = OrderedDict()  # and when, the oldest first
        self._limit = limit
        self._now = now

    @classmethod
    @contextmanager
    def kept(cls, path: Path, log: "FilteringBoundLogger", now: Callable[[], float] = time.time) -> Iterator["Taken"]:
        """With what the end before this one knew; and what is known at the end of this is in the file.

        After a kill nothing is known: then all comes again.
        """
        taken = cls(now=now)
        try:
            if path.exists():
                kept: dict[str, Any] = json.loads(path.read_bytes())
                path.unlink()
                known = [(key, (str(content), float(at_s))) for key, (content, at_s) in kept.items()]
                taken._content.update(sorted(known, key=lambda item: item[1][1]))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("what was delivered in part comes again: what is known of it can not be read", why=str(error))
        try:
            yield taken
        finally:
            taken._keep(path, log)

    def _keep(self, path: Path, log: "FilteringBoundLogger") -> None:
        if not self._lately():
            return
        draft = path.with_suffix(".new")
        try:
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(self._content), encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            log.warning("what was delivered in part will come again: it can not be written down", why=str(error))

    def __contains__(self, key: str) -> bool:
        return key in self._lately()

    def add(self, items: Sequence[Observation] | Sequence[Score]) -> None:
        """Remember these observations or scores."""
        self._remember((item.id, fingerprint(item)) for item in items)

    def add_ids(self, ids: Iterable[str]) -> None:
        """Remember what has its content in its id, as events have."""
        self._remember((key, "") for key in ids)

    def _remember(self, contents: Iterable[tuple[str, str]]) -> None:
        now_s = self._now()
        for key, content in contents:
            self._content[key] = (content, now_s)
            self._content.move_to_end(key)
        while len(self._content) > self._limit:
            self._content.popitem(last=False)

    def forget(self, ids: Iterable[str]) -> None:
        """Let go of these: all that came with them was taken too, or never will be."""
        for key in ids:
            self._content.pop(key, None)

    def without(self, items: list[T]) -> list[T]:
        """The items that were not taken yet."""
        known = self._lately()
        return [item for item in items if item.id not in known or known[item.id][0] != fingerprint(item)]

    def _lately(self) -> Mapping[str, tuple[str, float]]:
        oldest_s = self._now() - KEPT_S
        while self._content and next(iter(self._content.values()))[1] < oldest_s:
            self._content.popitem(last=False)
        return self._content


def fingerprint(item: Observation | Score) -> str:
    """The same for the same content."""
    from otel_bridge.exporters.langfuse.otlp import encode
    from otel_bridge.exporters.langfuse.scores import body
    from otel_bridge.plain_json import dump

    if isinstance(item, Observation):
        content = encode(Translation(observations=[item])).SerializeToString()
    else:
        content = dump(body(item)).encode()
    return blake2b(content, digest_size=16).hexdigest()
