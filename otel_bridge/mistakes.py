"""What pydantic finds wrong with a configuration, in this house's words."""

import difflib
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, get_args

from pydantic import BaseModel, PlainSerializer, SecretStr
from pydantic.fields import FieldInfo

from otel_bridge.config import Config
from otel_bridge.counts import plural

WORDS = {
    "missing": "is required",
    "too_short": "must not be empty",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "path_type": "must be a path",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "finite_number": "must be a number",
    "model_type": "must be a mapping of keys to values",
}

LIMITS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}


OF_COLLECTOR = {  # processors that everybody has there
    "batch": "the Collector's batch is not needed here: leave it out",
    "memory_limiter": (
        "the Collector's memory_limiter is not needed here, as receivers::otlp::max_inflight and max_rss are limits:"
        " leave it out"
    ),
}


def said(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    """One of pydantic's errors (with its input, which is shown only where a name stands for a list of names)."""
    kind, loc = error["type"], [str(part) for part in error["loc"]]
    holder = model_at(model, loc[:-1])
    if kind == "extra_forbidden":
        if holder and issubclass(holder, Config) and (instead := holder.INSTEAD.get(loc[-1])):
            return f"no such key, {instead}"
        return "no such key" + hint(loc[-1], list(holder.model_fields) if holder else [])
    field = holder.model_fields.get(loc[-1]) if holder and loc else None
    if kind == "list_type" and isinstance(error["input"], str):
        return f"must be a list, write it as [{error['input']}]"
    if kind == "tuple_type":
        return f"must be a list, write {loc[-1]}: [ … ], also for one or none"
    if kind == "too_short" and (least := error["ctx"]["min_length"]) > 1:
        there = plural(error["ctx"]["actual_length"], "character" if isinstance(error["input"], str) else "entry")
        return f"has {there}, and {least} are the least"
    if kind == "string_type" and field and isinstance(field.default, str):
        return f"must be text, as {field.default}"
    if kind in LIMITS:
        return f"must be {LIMITS[kind]} {_limit(error['ctx'], field)}"
    if kind == "string_pattern_mismatch":
        return f"must be of the form {error['ctx']['pattern']}"
    if kind == "string_too_short":
        least = error["ctx"]["min_length"]
        return "must not be empty" if least == 1 else f"must have {least} characters at least"
    words = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    return WORDS.get(kind, words)


def hint(word: str, known: Sequence[str]) -> str:
    """The known word that was probably meant, by the whole of it or by one of its parts; else all of them."""
    parts = {part.lower(): whole for whole in reversed(known) for part in whole.split("_")}
    for words in ({one.lower(): one for one in known}, parts):
        if close := difflib.get_close_matches(word.lower(), words, n=1):
            return f", did you mean {words[close[0]]}?"
    return f", there are: {', '.join(known)}" if known else ""


def needless(section: str, name: str) -> str:
    """What to say of a component that the Collector has, and that nothing here has to do; else nothing."""
    return f", {OF_COLLECTOR[name]}" if section == "processors" and name in OF_COLLECTOR else ""


def model_at(model: type[BaseModel], loc: Sequence[str]) -> type[BaseModel] | None:
    """The model that holds the key at the end of a path; None where that cannot be told."""
    here: Any = model
    for part in loc:
        here = _given(here)
        if isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = here.model_fields[part].annotation
        elif getattr(here, "__origin__", None) is dict:
            here = here.__args__[1]
        elif getattr(here, "__origin__", None) in (list, tuple):
            here = here.__args__[0]
        else:
            return None
    here = _given(here)
    if getattr(here, "__origin__", None) is dict:
        return None
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def holds_secret(model: type[BaseModel], loc: Sequence[str]) -> bool:
    """Whether what stands at a path is a secret, or in a list or mapping of them."""
    for n, key in enumerate(loc):
        holder = model_at(model, loc[:n])
        field = holder.model_fields.get(key) if holder else None
        if field and _mentions(field.annotation, SecretStr):
            return True
    return False


def _mentions(annotation: Any, kind: type) -> bool:
    return annotation is kind or any(_mentions(one, kind) for one in get_args(annotation))


def _given(annotation: Any) -> Any:
    """What it is where it is not None."""
    others = [one for one in get_args(annotation) if one is not NoneType]
    return others[0] if isinstance(annotation, UnionType) and len(others) == 1 else annotation


def _limit(context: Mapping[str, Any], field: FieldInfo | None) -> str:
    """The number that was not kept to, with its unit where the field has one."""
    limit = next(context[name] for name in ("gt", "ge", "lt", "le") if name in context)
    show = next((one.func for one in field.metadata if isinstance(one, PlainSerializer)), None) if field else None
    return str(show(limit)) if show and limit else str(int(limit) if limit == int(limit) else limit)  # type: ignore[call-arg]  # ours take the value alone
