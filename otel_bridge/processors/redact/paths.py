"""Places in JSON, as `messages[*].content`: names with dots between them, `[3]` for one item, `[*]` for all."""

import re
from collections.abc import Callable
from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from otel_bridge.processors.redact.as_written import read, write

STEP = re.compile(r"(?:(?:\A|(?!\A)\.)([^.\[\]*]+|\*)|\[(\d{1,6}|\*)\])(?=[.\[]|\Z)")

Take = Callable[[bytes], str | None]
"""What stands for a value; None takes it away."""


class Path:
    """One place, or all that fit."""

    __slots__ = ("_steps", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError: it is not written as a path is."""
        steps: list[str | int | None] = []
        at = 0
        while at < len(text):
            found = STEP.match(text, at)
            if found is None:
                raise ValueError(
                    f"{text!r} is no path from its character {at + 1} on, {text[at:]!r}: write names, or * for any, "
                    "with dots between them, and [3] or [*] for items, as messages[*].content"
                )
            name, number = found.groups()
            steps.append(None if "*" in (name, number) else name if name is not None else int(number))
            at = found.end()
        if not steps:
            raise ValueError("a path may not be empty: write it as messages[*].content")
        if steps[0] == "$":
            raise ValueError(f"{text!r} is no path: it begins with the first name, without $, as messages[*].content")
        self._steps = tuple(steps)
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def take(self, value: AnyValue, take: Take) -> bool:
        """Replace what is there, in JSON as text or in structured values; whether anything was."""
        if value.HasField("string_value"):
            try:
                said = read(value.string_value)
            except orjson.JSONDecodeError:  # cut off, or no JSON: nobody can say where in it the place is
                value.string_value = take(value.string_value.encode()) or ""
                return True
            if not self._in_json(said, self._steps, take):
                return False
            value.string_value = write(said).decode()
            return True
        return self._in_value(value, self._steps, take)

    def _in_json(self, here: Any, steps: tuple[str | int | None, ...], take: Take) -> bool:
        step, rest = steps[0], steps[1:]
        if isinstance(here, dict):
            places: list[Any] = [key for key in here if step in (None, key)]
        elif isinstance(here, list):
            places = [place for place in range(len(here)) if step in (None, place)]
        else:
            return False
        changed = False
        for place in reversed(places):
            if rest:
                changed |= self._in_json(here[place], rest, take)
                continue
            item = here[place]
            stands = take(item.encode() if isinstance(item, str) else write(item))
            if stands is None:
                del here[place]
            else:
                here[place] = stands
            changed = True
        return changed

    def _in_value(self, here: AnyValue, steps: tuple[str | int | None, ...], take: Take) -> bool:
        step, rest = steps[0], steps[1:]
        kind = here.WhichOneof("value")
        if kind == "kvlist_value":
            pairs = here.kvlist_value.values
            found = [(place, pair.value) for place, pair in enumerate(pairs) if step in (None, pair.key)]
        elif kind == "array_value":
            found = [(place, item) for place, item in enumerate(here.array_value.values) if step in (None, place)]
        else:
            return False
        changed = False
        for place, item in reversed(found):
            if rest:
                changed |= self._in_value(item, rest, take)
                continue
            stands = take(item.string_value.encode() or item.SerializeToString(deterministic=True))
            if stands is not None:
                item.string_value = stands
            elif kind == "kvlist_value":
                del here.kvlist_value.values[place]
            else:
                del here.array_value.values[place]
            changed = True
        return changed

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            path, serialization=core_schema.plain_serializer_function_ser_schema(lambda given: given.text)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "examples": ["messages[*].content"]}


def path(value: Any) -> Path:
    """As it is written in a configuration; raises ValueError."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text, as messages[*].content")  # noqa: TRY004 - pydantic takes it for a mistake
    return Path(value)
