"""Conditions, as people write them in the configuration: one language everywhere, Google's CEL.

    attributes["http.route"] == "/health" && duration_s < 1
    resource["service.name"].startsWith("batch-") || name.matches("^(GET|HEAD) ")

What is not there makes a condition false, not wrong: an attribute that a span lacks, or one of another type than it is
compared with. So a condition that drops something keeps what it does not understand. Patterns take linear time.
"""

from collections.abc import Callable, Mapping
from typing import Any

import cel
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from otel_bridge.mistakes import hint
from otel_bridge.trace import LogEntry, SpanRecord
from otel_bridge.translate.span import plain

MAX_LENGTH = 4096  # characters; the parser recurses
SPAN_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")

SPAN: Mapping[str, Callable[[SpanRecord], Any]] = {
    "name": lambda record: record.span.name,
    "kind": lambda record: SPAN_KINDS[record.span.kind] if 0 <= record.span.kind < len(SPAN_KINDS) else "unspecified",
    "status": lambda record: STATUSES[record.span.status.code] if 0 <= record.span.status.code < 3 else "unset",
    "duration_s": lambda record: (record.span.end_time_unix_nano - record.span.start_time_unix_nano) / 1e9,
    "attributes": lambda record: {pair.key: plain(pair.value) for pair in record.span.attributes},
    "resource": lambda record: {pair.key: plain(pair.value) for pair in record.resource.attributes},
    "scope": lambda record: record.scope.name,
}
"""What a condition on spans may ask for, and how it is found."""

LOG: Mapping[str, Callable[[LogEntry], Any]] = {
    "event_name": lambda entry: entry.record.event_name,
    "severity": lambda entry: entry.record.severity_number,
    "body": lambda entry: plain(entry.record.body),
    "attributes": lambda entry: {pair.key: plain(pair.value) for pair in entry.record.attributes},
    "resource": lambda entry: {pair.key: plain(pair.value) for pair in entry.resource.attributes},
    "scope": lambda entry: entry.scope.name,
}
"""The same for log records."""


class Condition:
    """A condition that was understood; as a field of a Config it is written as text."""

    variables: tuple[str, ...] = ()
    """What it may ask for; each subclass has its own."""

    __slots__ = ("_program", "asks", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError: it can not be understood, or asks for what there is not."""
        if len(text) > MAX_LENGTH:
            raise ValueError(f"a condition may have {MAX_LENGTH} characters")
        try:
            self._program = cel.compile(text)
        except ValueError as error:
            raise ValueError(f"this is no CEL expression: {_first_line(error)}") from error
        self.text = text
        self.asks = frozenset(self._program.variables())
        for name in sorted(self.asks - set(self.variables)):
            raise ValueError(f"'{name}' is not known here" + hint(name, self.variables))

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true of these values, among which is all that it `asks` for."""
        try:
            return self._program.execute(dict(values)) is True
        except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError):
            return False

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(lambda condition: condition.text)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "maxLength": MAX_LENGTH, "examples": [f'{cls.variables[0]} == "…"']}

    @classmethod
    def _read(cls, value: Any) -> "Condition":
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("must be text, a condition")  # noqa: TRY004 - pydantic takes it for a mistake
        return cls(value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"


class SpanCondition(Condition):
    """A condition on a span."""

    variables = (*SPAN, "tenant")
    __slots__ = ()

    def of(self, record: SpanRecord, tenant: str) -> bool:
        """Whether it holds for a span."""
        return self.holds({name: tenant if name == "tenant" else SPAN[name](record) for name in self.asks})


class LogCondition(Condition):
    """A condition on a log record."""

    variables = (*LOG, "tenant")
    __slots__ = ()

    def of(self, entry: LogEntry, tenant: str) -> bool:
        """Whether it holds for a log record."""
        return self.holds({name: tenant if name == "tenant" else LOG[name](entry) for name in self.asks})


def _first_line(error: ValueError) -> str:
    words = str(error).partition("ERROR: ")[2] or str(error)
    return words.partition("\n")[0].removeprefix("<input>:")
