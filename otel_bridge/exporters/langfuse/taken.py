"""What the server took of translations that are not through yet, so that only the rest is sent again."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from otel_bridge.model import Observation, Score, Translation

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

T = TypeVar("T", Observation, Score)


class Taken:
    """Observations, scores and events that were taken, while something that came with them was not.

    Held by id and content, so also what was cut or translated anew is known. Bounded; what falls out is sent twice,
    which is once: the ids are the same.
    """

    def __init__(self, limit: int = 50_000) -> None:
        self._content: OrderedDict[str, str] = OrderedDict()
        self._limit = limit

    @classmethod
    @contextmanager
    def kept(cls, path: Path, log: "FilteringBoundLogger") -> Iterator["Taken"]:
        """With what the end before this one knew; and what is known at the end of this is in the file.

        After a kill nothing is known: then all comes again.
        """
        taken = cls()
        try:
            if path.exists():
                taken._remember((str(key), str(content)) for key, content in json.loads(path.read_bytes()).items())
                path.unlink()
        except (OSError, ValueError, AttributeError) as error:
            log.warning("what was delivered in part comes again: what is known of it can not be read", why=str(error))
        try:
            yield taken
        finally:
            taken._keep(path, log)

    def _keep(self, path: Path, log: "FilteringBoundLogger") -> None:
        if not self._content:
            return
        draft = path.with_suffix(".new")
        try:
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(self._content), encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            log.warning("what was delivered in part will come again: it can not be written down", why=str(error))

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def add(self, items: Sequence[Observation] | Sequence[Score]) -> None:
        """Remember these observations or scores."""
        self._remember((item.id, fingerprint(item)) for item in items)

    def add_ids(self, ids: Iterable[str]) -> None:
        """Remember what has its content in its id, as events have."""
        self._remember((key, "") for key in ids)

    def _remember(self, contents: Iterable[tuple[str, str]]) -> None:
        self._content.update(contents)
        while len(self._content) > self._limit:
            self._content.popitem(last=False)

    def forget(self, ids: Iterable[str]) -> None:
        """Let go of these: all that came with them was taken too."""
        for key in ids:
            self._content.pop(key, None)

    def without(self, items: list[T]) -> list[T]:
        """The items that were not taken yet."""
        return [item for item in items if item.id not in self._content or self._content[item.id] != fingerprint(item)]


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
