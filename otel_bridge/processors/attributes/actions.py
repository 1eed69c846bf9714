"""Actions on attributes as they are written in the configuration."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from otel_bridge.batch import INT64
from otel_bridge.condition import Condition, LogCondition, ResourceCondition, ScopeCondition, SpanCondition
from otel_bridge.config import Config
from otel_bridge.patterns import NamePattern
from otel_bridge.validate import RESERVED


def _value(given: Any) -> Any:
    items = given if isinstance(given, list) else [given]
    if not all(isinstance(one, str | bool | float) or (isinstance(one, int) and one in INT64) for one in items):
        raise ValueError("must be text, a number, true or false, or a list of those")
    return given


Value = Annotated[
    Any,
    AfterValidator(_value),
    WithJsonSchema({"type": ["string", "number", "boolean", "array", "null"]}),
]
"""What an attribute may be set to."""


class ActionConfig(Config):
    """One change of attributes. A pattern as `acme.*` changes each that fits.

    action: `set` gives a value whether or not there is one; `copy` and `rename` leave the type as it is, and take the
        place of what has that name; `hash` leaves 64 hex digits; `promote` copies to the metadata that Langfuse can
        filter by, of every observation of the trace or of this one.
    """

    action: str
    key: NamePattern | None = None  # the attribute
    value: Value = None  # set: text, number, true or false, or a list of those
    to: NamePattern | None = None  # copy, rename, promote: the new name; of two patterns, each with one *
    length: Annotated[int, Field(ge=0)] | None = None  # truncate: characters, of each text in it
    when: Condition | None = None  # on what has the attribute, as the actions before left it

    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "set": ("key", "value"),
        "copy": ("key", "to"),
        "rename": ("key", "to"),
        "delete": ("key",),
        "hash": ("key",),
        "truncate": ("key", "length"),
    }
    may: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @model_validator(mode="after")
    def _whole(self) -> "ActionConfig":
        """Each action has what it needs, and nothing that it would not heed."""
        needed, allowed = self.needs[self.action], ("action", "when", *self.may.get(self.action, ()))
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"'{self.action}' needs '{name}'")
        for name in sorted(self.model_fields_set.difference(needed, allowed)):
            raise ValueError(f"'{self.action}' has no '{name}'")
        key, to = self.key or "", self.to or ""
        if self.action == "set" and "*" in key:
            raise ValueError("'set' needs a name, not a pattern")
        if "*" in to and (to.count("*"), key.count("*")) != (1, 1):
            raise ValueError("a pattern can be the new name where both have one *")
        if (to or (key if self.action == "set" else "")).startswith(RESERVED):
            raise ValueError(f"what begins with {RESERVED} is the bridge's own to say")
        return self


class ResourceActionConfig(ActionConfig):
    """A change of a resource's attributes, whatever comes from it."""

    action: Literal["set", "copy", "rename", "delete", "hash", "truncate"]
    when: ResourceCondition | None = None


class ScopeActionConfig(ActionConfig):
    """A change of an instrumentation scope's attributes."""

    action: Literal["set", "copy", "rename", "delete", "hash", "truncate"]
    when: ScopeCondition | None = None


class LogActionConfig(ActionConfig):
    """A change of a log record's attributes."""

    action: Literal["set", "copy", "rename", "delete", "hash", "truncate"]
    of: Literal["resource", "scope"] | None = None  # copy: whose attribute, if not the record's own
    when: LogCondition | None = None

    may: ClassVar[Mapping[str, tuple[str, ...]]] = {"copy": ("of",)}


class SpanActionConfig(ActionConfig):
    """A change of a span's attributes, or of its name.

    action: besides the others `name`, which calls the span by a value, or by an attribute if it is text.
    """

    action: Literal["set", "copy", "rename", "delete", "hash", "truncate", "promote", "name"]
    of: Literal["resource", "scope"] | None = None  # copy, promote, name: whose attribute, if not the span's own
    level: Literal["trace", "observation"] | None = None  # promote: whose metadata; `trace` unless said
    when: SpanCondition | None = None

    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {**ActionConfig.needs, "promote": ("key",), "name": ()}
    may: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "copy": ("of",),
        "promote": ("to", "of", "level"),
        "name": ("key", "value", "of"),
    }

    @model_validator(mode="after")
    def _named(self) -> "SpanActionConfig":
        if self.action == "name" and (self.key is None) is (self.value is None):
            raise ValueError("'name' needs either 'value' or 'key'")
        if self.action == "name" and not isinstance(self.value, str | None):
            raise ValueError("a name is text")
        return self
