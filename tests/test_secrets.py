"""A secret of the configuration is shown nowhere: each has a canary here, and no text that comes out has one."""

import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr
from ruamel.yaml import YAML

from otel_bridge import plan, registry
from otel_bridge.component import Component
from otel_bridge.errors import PlanError
from otel_bridge.pipeline import running
from otel_bridge.tenants import TenantConfig

CANARY = "canary-that-nobody-may-see"
FULL = Path(__file__).parents[1] / "config" / "full.yaml"


def secrets(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Where a model has secrets, and what is written there: (path of keys, value with a canary)."""
    for name, field in model.model_fields.items():
        annotation = str(field.annotation)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from secrets(field.annotation, (*path, name))
        elif field.annotation is not SecretStr and "SecretStr" not in annotation:
            continue
        elif "dict[" in annotation:
            yield (*path, name), {"x-canary": CANARY}
        elif "tuple[" in annotation or "list[" in annotation:
            yield (*path, name), [CANARY]
        else:
            yield (*path, name), CANARY


def put(into: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        into = into.setdefault(key, {})
    into[path[-1]] = value


def written(**more: Any) -> dict[str, Any]:
    """The configuration that has everything, with a canary for every secret."""
    whole: dict[str, Any] = YAML(typ="safe").load(FULL)
    for section in registry.SECTIONS:
        for name in registry.names(section):
            for path, value in secrets(found(section, name).config):
                put(whole[section].setdefault(name, {}), path, value)
    acme: dict[str, Any] = {}
    for path, value in secrets(TenantConfig):
        put(acme, path, value)
    whole["service"]["tenants"] = {"acme": acme}
    return whole | more


def found(section: str, name: str) -> Component[Any]:
    component = registry.find(section, name)
    assert component is not None
    return component


def text_of(whole: dict[str, Any]) -> str:
    return json.dumps(whole)  # which is YAML


ENVIRON = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": CANARY}


def test_there_are_secrets_to_be_hidden() -> None:
    assert text_of(written()).count(CANARY) >= 4


def test_no_secret_is_in_a_plan_as_it_is_printed() -> None:
    read = plan.parse(text_of(written()), "bridge.yaml", environ=ENVIRON)

    assert CANARY not in json.dumps(read.to_dict())
    assert CANARY not in repr(read) + str(read)
    assert CANARY not in json.dumps([read.sources, read.warnings])
    assert CANARY in json.dumps(read.to_dict(show_secrets=True))


async def test_no_secret_is_in_the_status(tmp_path: Path) -> None:
    whole = written()
    whole["service"] |= {
        "data_dir": str(tmp_path),
        "pipelines": {"main": {"receivers": ["in_process"], "processors": ["attributes"], "exporters": ["otlp"]}},
    }
    whole["extensions"] = {}

    async with running(plan.parse(text_of(whole), "bridge.yaml", environ=ENVIRON)) as bridge:
        assert CANARY not in json.dumps(bridge.status())


PLACES = [
    (section, name, path)
    for section in registry.SECTIONS
    for name in registry.names(section)
    for path, _ in secrets(found(section, name).config)
]


@pytest.mark.parametrize(
    "wrong", [[[CANARY]], {"a": {"b": CANARY}}, [{"a": CANARY}], CANARY], ids=["list", "map", "maps", "text"]
)
@pytest.mark.parametrize(("section", "name", "path"), [*PLACES, ("service", "tenants", ("acme", "keys"))])
def test_no_secret_is_in_a_mistake(section: str, name: str, path: tuple[str, ...], wrong: Any) -> None:
    """Where it was written in the wrong form, or beside one."""
    whole = written(nosuch={"secret_key": CANARY})
    put(whole[section].setdefault(name, {}), path, wrong)

    with pytest.raises(PlanError) as caught:
        plan.parse(text_of(whole), "bridge.yaml", environ=ENVIRON)

    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.mistakes


@pytest.mark.parametrize("short", ["", "canary"])
def test_no_secret_is_in_a_mistake_about_its_form(short: str) -> None:
    whole = written()
    whole["service"]["tenants"]["acme"]["keys"] = [short]

    with pytest.raises(PlanError) as caught:
        plan.parse(text_of(whole), "bridge.yaml", environ=ENVIRON)

    assert not short or short not in "".join(traceback.format_exception(caught.value))
