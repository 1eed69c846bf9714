"""What is wrong with a configuration is said in this house's words, wherever it is and whatever was written there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from otel_bridge import registry
from otel_bridge.config import written_in
from otel_bridge.mistakes import hint, said
from otel_bridge.plan import ServiceConfig

WRONG: list[Any] = [None, True, 0, -1, 10**30, 1.5, float("nan"), "", "x y", "nonsense", "-5s", "\0"]
WRONG += [[], ["x"], [5], [{}], [[]], {}, {"x": "y"}, {"x": {}}, {"x": []}, {"x": 5}]
THEIRS = ("Input", "should", "Value error", "valid", "pydantic", "type=")


def _models(of: Any) -> Iterator[type[BaseModel]]:
    """A model, and those of what stands in it."""
    if isinstance(of, type) and issubclass(of, BaseModel):
        yield of
        for field in of.model_fields.values():
            yield from _models(field.annotation)
    for inner in get_args(of):
        yield from _models(inner)


MODELS = dict.fromkeys(
    model for top in (*(one.config for one in registry.components()), ServiceConfig) for model in _models(top)
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_mistake_is_told_in_the_words_of_a_library(model: type[BaseModel]) -> None:
    found = set()
    for name in model.model_fields:
        for value in WRONG:
            try:
                model.model_validate({name: value}, context=written_in(Path("/nowhere")))
            except ValidationError as error:
                found |= {said(one, model) for one in error.errors(include_url=False)}
    assert [one for one in found if any(word in one for word in THEIRS)] == []


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"tls": {"cert_fil": "x"}}, "no such key, did you mean cert_file?"),
        (
            {"protocols": {"grpc": {"endpoint": "0.0.0.0:4317"}}},
            "no such key, write `grpc: host:port` and `http: host:port` directly under otlp",
        ),
        ({"max_connections": 0}, "must be above 0"),
        ({"max_body": "0B"}, "must be above 0"),
        ({"tenant_from": {"header": "a b"}}, "must be of the form ^[A-Za-z0-9-]{1,100}$"),
    ],
)
def test_what_is_meant_is_known_also_where_it_may_be_left_out(written: dict[str, Any], told: str) -> None:
    component = registry.find("receivers", "otlp")
    assert component is not None
    with pytest.raises(ValidationError) as caught:
        component.config.model_validate(written, context=written_in(Path()))
    assert told in [said(one, component.config) for one in caught.value.errors(include_url=False)]


def test_what_is_meant_is_known_in_capitals_and_in_small_letters() -> None:
    assert hint("acmee", ["ACME", "globex"]) == ", did you mean ACME?"
    assert hint("OTLP", ["store", "otlp"]) == ", did you mean otlp?"
