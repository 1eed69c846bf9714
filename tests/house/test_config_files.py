"""The configuration files that are shipped: valid, and true to the code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from ruamel.yaml import YAML

from otel_bridge import plan, registry
from otel_bridge.cli.configuration import validate
from otel_bridge.config import Config
from otel_bridge.written import default_text

FOLDER = Path(__file__).parents[2] / "config"
NAMES = ("LANGFUSE", "ACME_LANGFUSE", "BETA_LANGFUSE")
KEYS = {f"{name}_{kind}_KEY": f"{kind}-key-of-{name}" for name in NAMES for kind in ("PUBLIC", "SECRET")}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.name)
def test_every_file_is_valid(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the files that it refers to there; and but for `full`, which uses little of what it has, it is fine."""
    text = file.read_text(encoding="utf-8")
    copied = tmp_path / file.name
    copied.write_text(text, encoding="utf-8")
    for name in re.findall(r"\$\{file:([^:}]+)\}", text) if file.name != "full.yaml" else ():
        secret = tmp_path / name
        secret.parent.mkdir(exist_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(f"the-secret-of-{secret.stem}-0123456789{secret.suffix}")
    if "cert_file: secrets" in text:
        issued = trustme.CA().issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "secrets" / "tls.crt")
        (tmp_path / "secrets" / "tls.key").touch(mode=0o600)
        issued.private_key_pem.write_to_path(tmp_path / "secrets" / "tls.key")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    validate(copied)
    read = plan.load(copied, environ=KEYS)
    assert read.warnings == () or file.name == "full.yaml"


@pytest.mark.parametrize(("name", "environ"), [("default.yaml", {}), ("langfuse.yaml", KEYS)])
def test_what_runs_without_a_file_is_what_the_file_says(name: str, environ: dict[str, str]) -> None:
    without = plan.load(None, environ=environ)

    assert plan.load(FOLDER / name, environ=environ).to_dict(show_secrets=True) == without.to_dict(show_secrets=True)


@pytest.mark.parametrize(("name", "langfuse"), [("default.yaml", False), ("langfuse.yaml", True)])
def test_config_init_writes_the_file(name: str, langfuse: bool) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == default_text(langfuse=langfuse)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.name)
def test_editors_that_know_the_schema_find_nothing_wrong(file: Path) -> None:
    errors = Draft202012Validator(plan.schema()).iter_errors(YAML(typ="safe").load(file))

    assert [f"{'::'.join(map(str, error.absolute_path))}: {error.message}" for error in errors] == []


def full() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(FOLDER / "full.yaml")
    return loaded


def test_full_has_every_component() -> None:
    written = {(section, key) for section in registry.SECTIONS for key in full().get(section, {})}

    assert written == {(section, name) for section in registry.SECTIONS for name in registry.names(section)}


def differences(model: type[BaseModel], written: dict[str, Any], read: BaseModel, path: str) -> Iterator[str]:
    """Keys that are not written down, and values that are not the default."""
    for name, field in model.model_fields.items():
        here, value = f"{path}::{name}", getattr(read, name)
        if name not in written:
            yield f"{here} is missing"
        elif isinstance(value, BaseModel):
            yield from differences(type(value), written[name], value, here)
        elif not field.is_required() and value != field.get_default(call_default_factory=True):
            yield f"{here} is {value!r}, the default is {field.get_default(call_default_factory=True)!r}"


def test_full_has_every_key_at_its_default() -> None:
    written, read = full(), plan.load(FOLDER / "full.yaml", environ=KEYS)
    wrong = [
        difference
        for section in registry.SECTIONS
        for key, planned in getattr(read, section).items()
        for difference in differences(
            type(planned.config), written[section][key] or {}, planned.config, f"{section}::{key}"
        )
    ]
    wrong += differences(plan.ServiceConfig, written["service"], read.service, "service")

    assert wrong == []


def heirs(model: type[Config]) -> Iterator[type[Config]]:
    for heir in model.__subclasses__():
        yield heir
        yield from heirs(heir)


def test_what_is_written_in_yaml_is_called_config_in_the_code() -> None:
    plan.schema()  # which imports every component

    named = {heir.__name__ for heir in heirs(Config) if heir.__module__.startswith("otel_bridge.")}
    assert {name for name in named if not name.endswith("Config")} == set()
