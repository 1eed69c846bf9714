"""Models and dataclasses of pydantic: never is more told of them than they would serialize."""

import types
from collections import abc, deque
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

SCALARS = frozenset((str, int, float, bool, bytes, None, types.NoneType, ...))
BUILT_IN = frozenset((list, tuple, dict, set, frozenset, deque))
ABSTRACT = frozenset(getattr(abc, name) for name in abc.__all__ if name not in ("Callable", "Buffer"))
CONTAINERS = BUILT_IN | ABSTRACT
ANYTHING = object


def is_model(value: Any) -> bool:
    """Whether it has a serialization of its own."""
    return not isinstance(value, type) and (
        hasattr(type(value), "__pydantic_serializer__") or callable(getattr(value, "model_dump", None))
    )


def is_structured(kind: type) -> bool:
    """Whether what is of it is a model, or has the fields of a data class; without asking the object itself."""
    return (
        hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "__pydantic_serializer__")
        or callable(getattr(kind, "model_dump", None))
    )


def shown(model: Any) -> dict[str, Any]:
    """Its fields, but for those that are never serialized."""
    fields = getattr(type(model), "__pydantic_fields__", None)
    if fields is None:
        return dict(getattr(model, "__dict__", {}))
    said = {name: getattr(model, name) for name, of in fields.items() if not of.exclude and hasattr(model, name)}
    return said | (getattr(model, "__pydantic_extra__", None) or {})


def dumped(model: Any) -> Any:
    """All of it, as it serializes itself."""
    if callable(dump := getattr(model, "model_dump", None)):
        return dump(mode="json")
    return type(model).__pydantic_serializer__.to_python(model, mode="json")


def dumped_field(model: Any, name: str) -> dict[str, Any]:
    """One field, as it is serialized, by the name that it then has; nothing, if it is left out."""
    return type(model).__pydantic_serializer__.to_python(  # type: ignore[no-any-return]
        model, mode="json", include={name}, warnings=False
    )


def is_sum_of_fields(kind: type) -> bool:
    """Whether each of its fields is serialized by itself: the class has no serializer for the whole."""
    own = (getattr(kind, name, None) for name in ("model_dump", "__get_pydantic_core_schema__"))
    return (
        hasattr(kind, "__pydantic_serializer__")
        and not kind.__pydantic_decorators__.model_serializers  # type: ignore[attr-defined]
        and all(found is None or found.__module__ == "pydantic.main" for found in own)
    )


def held_kinds(kind: Any, name: str) -> frozenset[Any] | None:
    """The models that a field may hold, `ANYTHING` among them if it says nothing of that.

    None if the field is, or may be, serialized otherwise than what it holds would be: as a secret is masked.
    """
    field = kind.__pydantic_fields__.get(name)
    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
    serializers = kind.__pydantic_decorators__.field_serializers.values()
    if (
        field is None
        or field.exclude_if is not None
        or config.get("json_encoders")
        or any({name, "*"}.intersection(serializer.info.fields) for serializer in serializers)
    ):
        return None
    leaves = frozenset(map(_leaf, [*_leaves(field.annotation), *filter(_serializes, field.metadata)]))
    return None if None in leaves else leaves


def _leaves(said: Any) -> Iterator[Any]:
    """What an annotation is made of, without scalars and containers."""
    origin, arguments = get_origin(said), get_args(said)
    if origin is Annotated:
        yield from _leaves(arguments[0])
        yield from filter(_serializes, arguments[1:])
    elif origin in (Union, types.UnionType) or origin in CONTAINERS:
        for argument in arguments:
            yield from _leaves(argument)
    elif said is Any or said in CONTAINERS:
        yield ANYTHING
    elif origin is not Literal and said not in SCALARS:
        yield said


def _serializes(metadata: Any) -> bool:
    return hasattr(metadata, "__get_pydantic_core_schema__")


def _leaf(said: Any) -> Any:
    return said if said is ANYTHING or (isinstance(said, type) and hasattr(said, "__pydantic_serializer__")) else None
