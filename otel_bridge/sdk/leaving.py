"""How a block was left, said on its span: returned, failed, cancelled, timed out, abandoned, interrupted."""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError as FutureCancelledError
from dataclasses import dataclass

from opentelemetry import context as otel
from opentelemetry.trace import Span, Status, StatusCode

from otel_bridge.sdk.values import clean, words

OUTCOME = "otel_bridge.outcome"
CANCELLED, TIMEOUT, ABANDONED, INTERRUPTED = "cancelled", "timeout", "abandoned", "interrupted"
CANCELLATIONS = (("asyncio", "CancelledError"), ("trio", "Cancelled"))
CLIENT = otel.create_key("otel-bridge-client")
LANGGRAPH = "langgraph.errors"
STREAMLIT = "streamlit.runtime.scriptrunner"
STREAMLITS_WISHES = "streamlit.commands.execution_control"  # st.rerun, st.stop, st.switch_page
MOST_LEAVES = 8  # of a group that are told one by one


@dataclass(slots=True)
class Client:
    """Who waits for the answer to a request, in its context under `CLIENT`."""

    has_gone: bool = False


def tell(span: Span, error: BaseException | None) -> None:
    """Set the status, the events and the outcome of a span whose block was left by `error`.

    None, the end of an iteration and an exit with code 0 are no failures: they leave the span as it is. A generator
    that was closed early is abandoned, as is what is cancelled because its client has gone, or left because somebody
    clicked on a page of Streamlit's meanwhile, and a LangGraph interrupt is interrupted: no failures either, but told
    apart. What hands over to a parent graph, or has the page run again, is as good as a return. Of a group its leaves
    are told, as the group's own text names none of them.

    Raises nothing: what the agent raised goes on, whatever that says of itself.
    """
    if error is not None and span.is_recording():
        with contextlib.suppress(Exception):
            _tell(span, error)


def _tell(span: Span, error: BaseException) -> None:
    leaves = list(_leaves(error))
    failures = [leaf for leaf in leaves if not _is_no_failure(leaf)]
    cancelled = [leaf for leaf in failures if _is_cancellation(leaf)]
    failed = [leaf for leaf in failures if not _is_cancellation(leaf)]  # somebody's may not take `in`, nor `==`
    if failed:
        for leaf in failed[:MOST_LEAVES]:
            _record(span, leaf)
        if all(isinstance(leaf, TimeoutError) for leaf in failed):
            span.set_attribute(OUTCOME, TIMEOUT)
        span.set_status(Status(StatusCode.ERROR, _summary(failed)))
    elif cancelled and isinstance(client := otel.get_value(CLIENT), Client) and client.has_gone:
        span.set_attribute(OUTCOME, ABANDONED)
    elif cancelled:
        span.set_attribute(OUTCOME, CANCELLED)
        said = _text(cancelled[0])
        span.set_status(Status(StatusCode.ERROR, f"cancelled: {said}" if said else CANCELLED))
    elif any(isinstance(leaf, GeneratorExit) or _is_clicked_away(leaf) for leaf in leaves):
        span.set_attribute(OUTCOME, ABANDONED)
    elif any(_is_interrupt(leaf) for leaf in leaves):
        span.set_attribute(OUTCOME, INTERRUPTED)


def is_cancelled(error: BaseException) -> bool:
    """Whether there is nothing but cancellation in it."""
    return all(_is_cancellation(leaf) for leaf in _leaves(error))


def _record(span: Span, error: BaseException) -> None:
    kind = type(error)
    named = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    said = {"exception.type": named, "exception.message": _text(error), "exception.escaped": "True"}
    try:
        said["exception.stacktrace"] = clean("".join(traceback.format_exception(error)))
    except Exception:  # noqa: BLE001 - its text can not be made
        said["exception.stacktrace"] = clean("".join(traceback.format_tb(error.__traceback__)))
    span.add_event("exception", said)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if isinstance(found, BaseExceptionGroup):
            waiting.extend(reversed(found.exceptions))
        else:
            yield found


def _is_no_failure(error: BaseException) -> bool:
    if isinstance(error, SystemExit):
        return not error.code
    if isinstance(error, StopIteration | StopAsyncIteration | GeneratorExit):
        return True
    return isinstance(error, _loaded(LANGGRAPH, "GraphBubbleUp")) or _is_of_streamlit(error)


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, FutureCancelledError | KeyboardInterrupt):
        return True
    return any(isinstance(error, _loaded(*named)) for named in CANCELLATIONS)


def _is_interrupt(error: BaseException) -> bool:
    """LangGraph pauses a graph by raising, and also hands over to a parent graph so."""
    if isinstance(error, _loaded(LANGGRAPH, "ParentCommand")):
        return False
    return isinstance(error, _loaded(LANGGRAPH, "GraphBubbleUp"))


def _is_of_streamlit(error: BaseException) -> bool:
    """A run of a page ends so before its last line: the page wants that itself, or somebody has clicked or gone."""
    return any(isinstance(error, _loaded(STREAMLIT, name)) for name in ("RerunException", "StopException"))


def _is_clicked_away(error: BaseException) -> bool:
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return _is_of_streamlit(error) and all(frame.f_globals.get("__name__") != STREAMLITS_WISHES for frame in frames)


def _loaded(module: str, name: str) -> type[BaseException] | tuple[()]:
    """A class of a module, if somebody has imported that: nothing else can have raised it."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else ()


def _summary(failed: list[BaseException]) -> str:
    told = "; ".join(f"{type(leaf).__qualname__}: {_text(leaf)}".removesuffix(": ") for leaf in failed[:MOST_LEAVES])
    return f"{told}; and {len(failed) - MOST_LEAVES} more" if len(failed) > MOST_LEAVES else told


def _text(error: BaseException) -> str:
    return words(error)
