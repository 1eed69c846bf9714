"""`correlation()`: who and what a piece of work belongs to, on every span, event and score made in it, and downstream.

Ids travel as W3C baggage with every instrumented HTTP call; tags, and what is said with `local=True`, stay in this
process. `context.ContextProcessor` writes both on the spans.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from opentelemetry import baggage
from opentelemetry import context as otel
from opentelemetry.context import Context

from otel_bridge.sdk.values import words

_LOCAL = otel.create_key("otel-bridge-correlation")
KNOWN = {"session": "session.id", "user": "user.id", "tags": "langfuse.trace.tags", "name": "langfuse.trace.name"}
STAYS = (KNOWN["tags"], KNOWN["name"])
DOWNSTREAM = ("session.id", "user.id", "workflow.id", "thread.id", "run.id", "agent.id")
"""What is taken out of baggage that came with a request; who sends more has no say in our telemetry."""


class correlation:  # noqa: N801 - used like a function, as contextlib's own
    """Ids of the work in a block: `with`, `async with`. One object may be entered again and again.

    session, user: ids. name: the trace's. tags: a trace's, added to those around. ids: any other attribute, dots
    written as two underscores (`workflow__id="w1"`) or given as a mapping first.
    local: say nothing of it to other services.
    """

    __slots__ = ("_attributes", "_entered", "_local")

    def __init__(
        self,
        ids: Mapping[str, Any] | None = None,
        /,
        *,
        session: str | None = None,
        user: str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        local: bool = False,
        **named: Any,
    ) -> None:
        said = {"session": session, "user": user, "name": name, "tags": list(tags) if tags else None}
        given = {KNOWN[key]: value for key, value in said.items() if value is not None}
        given |= {key.replace("__", "."): value for key, value in named.items() if value is not None}
        self._attributes: dict[str, Any] = {**(ids or {}), **given}
        self._local = local
        self._entered: list[tuple[Context, Context]] = []  # what was current before, and is in it

    def apply(self, context: Context | None = None) -> Context:
        """A context with the ids in it."""
        made = context if context is not None else otel.get_current()
        local = dict(local_of(made))
        for key, value in self._attributes.items():
            if key == KNOWN["tags"]:
                value = [*dict.fromkeys([*local.get(key, ()), *value])]  # noqa: PLW2901 - those around, and these
            if isinstance(value, str) and not self._local and key not in STAYS:
                made = baggage.set_baggage(words(key), words(value), made)
            local[key] = value
        return otel.set_value(_LOCAL, local, made)

    def __enter__(self) -> None:
        before = otel.get_current()
        mine = self.apply(before)
        self._entered.append((before, mine))
        otel.attach(mine)

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        current = otel.get_current()  # others may have entered the same object meanwhile
        at = next((at for at, (_, mine) in enumerate(self._entered) if mine is current), None)
        before, mine = self._entered.pop(-1 if at is None else at)
        if current is mine:  # else somebody else's is current
            otel.attach(before)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(_type, error, traceback)


def local_of(context: Context | None) -> dict[str, Any]:
    """What `correlation` said in this context, by attribute."""
    found = otel.get_value(_LOCAL, context)
    return found if isinstance(found, dict) else {}


def correlated(context: Context | None, keys: Sequence[str]) -> dict[str, Any]:
    """All that is known in a context: baggage under these keys, and what was said in this process over it."""
    carried, local = baggage.get_all(context), local_of(context)
    known = {key: carried[key] for key in keys if key in carried} if carried else {}
    return known | local if local else known
