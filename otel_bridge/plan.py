"""YAML → Plan: what is to run, every value checked, every mistake found at once.

The file has the Collector's shape. Mistakes read `file:line path: what, what to do`.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from otel_bridge import registry
from otel_bridge.assemble import AssembleConfig
from otel_bridge.component import Component, Kind
from otel_bridge.config import Bytes, Config, Seconds
from otel_bridge.delivery import DeliverConfig
from otel_bridge.errors import PlanError

REFERENCE = re.compile(r"\$(?:(\$)|\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(\{[^}]*\}?))")

DEFAULT = """\
receivers:
  otlp:
    grpc: ${env:OTEL_BRIDGE_GRPC:-127.0.0.1:4317}
    http: ${env:OTEL_BRIDGE_HTTP:-127.0.0.1:4318}
exporters:
  store: {}
extensions:
  viewer:
    endpoint: ${env:OTEL_BRIDGE_VIEWER:-127.0.0.1:4319}
service:
  data_dir: ${env:OTEL_BRIDGE_DATA_DIR:-~/.otel-bridge}
  pipelines:
    main: {receivers: [otlp], exporters: [store]}
"""

WITH_LANGFUSE = DEFAULT.replace(
    "  store: {}\n",
    """\
  store: {}
  langfuse:
    base_url: ${env:LANGFUSE_BASE_URL:-https://cloud.langfuse.com}
    public_key: ${env:LANGFUSE_PUBLIC_KEY}
    secret_key: ${env:LANGFUSE_SECRET_KEY}
""",
).replace("exporters: [store]", "exporters: [store, langfuse]")


class JournalConfig(Config):
    """The durable log between the receivers and everything else."""

    max_bytes: Bytes = 8 << 30  # refuse above this
    max_age: Seconds = 7 * 24 * 3600  # what is older is given up, and counted as expired
    when_full: Literal["refuse"] = "refuse"
    durability: Literal["fsync", "os"] = "fsync"  # os: survives the death of the process, not of the machine


class TranslateConfig(Config):
    """What the bridge adds to what the agents said.

    prices: model (or the beginning of its name and `*`) → usage bucket → US dollars per million tokens.
    """

    prices: dict[str, dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]] = Field(default_factory=dict)


class PipelineConfig(Config):
    """From which receivers, through which processors, to which exporters."""

    receivers: list[str] = Field(min_length=1)
    processors: list[str] = Field(default_factory=list)
    exporters: list[str] = Field(min_length=1)


class ServiceConfig(Config):
    """Everything that is not a component."""

    data_dir: str = "~/.otel-bridge"
    journal: JournalConfig = JournalConfig()
    assemble: AssembleConfig = AssembleConfig()
    deliver: DeliverConfig = DeliverConfig()
    translate: TranslateConfig = TranslateConfig()
    pipelines: dict[str, PipelineConfig] = Field(min_length=1)


@dataclass(slots=True, frozen=True)
class Planned:
    """A component with the configuration that it will run with."""

    id: str
    component: Component[Any]
    config: Config


@dataclass(slots=True, frozen=True)
class Plan:
    """A configuration that can be run.

    origin: what it was read from, for messages.
    sources: `service::data_dir` → where the value was given, as `bridge.yaml:14` or `bridge.yaml:14 env X`.
    """

    origin: str
    receivers: Mapping[str, Planned]
    processors: Mapping[str, Planned]
    exporters: Mapping[str, Planned]
    extensions: Mapping[str, Planned]
    service: ServiceConfig
    sources: Mapping[str, str] = field(default_factory=dict)

    def processors_of(self, pipeline: str, kind: Kind) -> list[Planned]:
        """The processors of one kind that a pipeline names, in its order."""
        named = [self.processors[key] for key in self.service.pipelines[pipeline].processors]
        return [planned for planned in named if planned.component.kind is kind]

    @property
    def data_dir(self) -> Path:
        """Where the bridge keeps its files, absolute."""
        return Path(self.service.data_dir).expanduser().absolute()

    def to_dict(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """The whole configuration with every default filled in, as plain values; secrets are `***` unless asked for."""
        whole: dict[str, Any] = {
            section: {key: _plain(planned.config, show_secrets) for key, planned in getattr(self, section).items()}
            for section in registry.SECTIONS
        }
        whole["service"] = _plain(self.service, show_secrets)
        return {section: values for section, values in whole.items() if values}


def default_text(*, langfuse: bool) -> str:
    """The configuration that the bridge runs with when it is given none."""
    return WITH_LANGFUSE if langfuse else DEFAULT


def load(path: Path | None, *, environ: Mapping[str, str]) -> Plan:
    """Read a configuration; None stands for the default, with Langfuse where its keys are in the environment.

    The environment is read here and nowhere else.

    Raises:
        PlanError: with all mistakes.
    """
    if path is None:
        with_langfuse = bool(environ.get("LANGFUSE_PUBLIC_KEY") and environ.get("LANGFUSE_SECRET_KEY"))
        return parse(default_text(langfuse=with_langfuse), "default", environ=environ)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise PlanError([f"{path}: is not UTF-8 text (byte {error.start})"]) from error
    return parse(text, path.name, environ=environ)


def parse(text: str, origin: str, *, environ: Mapping[str, str]) -> Plan:
    """Make a plan of the text of a configuration; `origin` names it in messages.

    Raises:
        PlanError: with all mistakes.
    """
    return _Reading(origin, environ).plan(text)


def schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, with every component that is installed."""
    definitions: dict[str, Any] = {}

    def of(model: type[BaseModel]) -> dict[str, Any]:
        made = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(made.pop("$defs", {}))
        return made

    sections: dict[str, Any] = {}
    for section in registry.SECTIONS:
        patterns = {}
        for name in registry.names(section):
            found = registry.find(section, name)
            if found is not None:
                patterns[f"^{name}(/.+)?$"] = {"anyOf": [{"type": "null"}, of(found.config)]}
        sections[section] = {"type": "object", "patternProperties": patterns, "additionalProperties": False}
    sections["service"] = of(ServiceConfig)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "otel-bridge configuration",
        "type": "object",
        "properties": sections,
        "required": ["receivers", "exporters", "service"],
        "additionalProperties": False,
        "$defs": definitions,
    }


class _Reading:
    """One reading of one file: collects mistakes until the end."""

    def __init__(self, origin: str, environ: Mapping[str, str]) -> None:
        self.origin = origin
        self.environ = environ
        self.mistakes: list[tuple[int, str]] = []
        self.lines: dict[tuple[str, ...], int] = {}
        self.sources: dict[str, str] = {}

    def wrong(self, path: tuple[str, ...], what: str, line: int | None = None) -> None:
        known = line or next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)
        self.mistakes.append((known, f"{self.origin}:{known} {'::'.join(path) + ': ' if path else ''}{what}"))

    def stop_at_mistakes(self) -> None:
        if self.mistakes:
            raise PlanError([message for _, message in sorted(self.mistakes)])

    def plan(self, text: str) -> Plan:
        raw = self.read_yaml(text)
        top = self.expand(raw, ())
        for key in [key for key in top if key not in (*registry.SECTIONS, "service")]:
            self.wrong((key,), "no such section" + _hint(key, [*registry.SECTIONS, "service"]))
        planned = {section: self.section(section, top.get(section)) for section in registry.SECTIONS}
        service = self.model(ServiceConfig, top.get("service"), ("service",))
        if isinstance(service, ServiceConfig):
            self.references(service, top)
        self.stop_at_mistakes()
        assert isinstance(service, ServiceConfig)  # noqa: S101 - else there was a mistake
        return Plan(self.origin, **planned, service=service, sources=self.sources)

    def read_yaml(self, text: str) -> CommentedMap:
        try:
            raw = YAML(typ="rt").load(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = (error.problem or error.context or "cannot be read").partition("\n")[0]
            self.wrong((), f"not valid YAML: {what}", mark.line + 1 if mark else 1)
        except YAMLError as error:
            self.wrong((), f"not valid YAML: {str(error).partition(chr(10))[0]}")
        else:
            if isinstance(raw, CommentedMap):
                return raw
            self.wrong(
                (),
                "the file is empty" if raw is None else "must be a mapping with `receivers`, `exporters` and `service`",
            )
        self.stop_at_mistakes()
        raise AssertionError

    def expand(self, node: Any, path: tuple[str, ...]) -> Any:
        """Plain values for YAML nodes: references to the environment replaced, lines remembered."""
        if isinstance(node, CommentedMap):
            out = {}
            for key, value in node.items():
                here = (*path, str(key))
                self.lines[here] = node.lc.key(key)[0] + 1
                out[str(key)] = self.expand(value, here)
            return out
        if isinstance(node, CommentedSeq):
            for index in range(len(node)):
                self.lines[(*path, str(index))] = node.lc.item(index)[0] + 1
            return [self.expand(value, (*path, str(index))) for index, value in enumerate(node)]
        used: list[str] = []
        value = self.substitute(str(node), path, used) if isinstance(node, str) else node
        line = next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)
        self.sources["::".join(path)] = f"{self.origin}:{line}" + "".join(f" env {name}" for name in used)
        return value

    def substitute(self, text: str, path: tuple[str, ...], used: list[str]) -> str:
        def one(found: re.Match[str]) -> str:
            dollar, name, fallback, other = found.groups()
            if dollar:
                return "$"
            if other:
                self.wrong(
                    path,
                    f"${other} cannot be read, write ${{env:NAME}}, ${{env:NAME:-default}}, or $$ for a dollar sign",
                )
                return ""
            if self.environ.get(name):
                used.append(name)
                return self.environ[name]
            if fallback is None:
                self.wrong(path, f"the environment has no {name}, set it or write ${{env:{name}:-default}}")
                return ""
            return str(fallback)

        return REFERENCE.sub(one, text)

    def section(self, section: str, entries: Any) -> dict[str, Planned]:
        out: dict[str, Planned] = {}
        if entries is None:
            return out
        if not isinstance(entries, dict):
            self.wrong((section,), "must be a mapping of component ids to their configuration")
            return out
        for key, given in entries.items():
            name = key.partition("/")[0]
            found = registry.find(section, name)
            if found is None:
                self.wrong((section, key), f"no such {section[:-1]}" + _hint(name, registry.names(section)))
                continue
            config = self.model(found.config, given, (section, key))
            if config is not None:
                out[key] = Planned(key, found, config)
        return out

    def model(self, model: type[Config], given: Any, path: tuple[str, ...]) -> Config | None:
        try:
            return model.model_validate({} if given is None else given)
        except ValidationError as error:
            for one in error.errors(include_url=False, include_input=False):
                self.invalid(model, path, tuple(str(part) for part in one["loc"]), one["type"], one["msg"])
            return None

    def invalid(
        self, model: type[BaseModel], path: tuple[str, ...], loc: tuple[str, ...], kind: str, message: str
    ) -> None:
        """One of pydantic's findings in this house's words."""
        if kind == "extra_forbidden":
            holder = _model_at(model, loc[:-1])
            self.wrong((*path, *loc), "no such key" + _hint(loc[-1], list(holder.model_fields) if holder else []))
        elif kind == "missing":
            self.wrong((*path, *loc), "is required")
        else:
            self.wrong((*path, *loc), message.removeprefix("Value error, "))

    def references(self, service: ServiceConfig, top: Mapping[str, Any]) -> None:
        """Every name in a pipeline must be configured."""
        for name, pipeline in service.pipelines.items():
            for section in ("receivers", "processors", "exporters"):
                named: list[str] = getattr(pipeline, section)
                configured = list(top.get(section) or {})
                for index, key in enumerate(named):
                    path = ("service", "pipelines", name, section, str(index))
                    if key not in configured:
                        self.wrong(
                            path[:-1], f"'{key}' is not configured" + _hint(key, configured), self.lines.get(path)
                        )
                    elif key in named[:index]:
                        self.wrong(path[:-1], f"'{key}' is there twice", self.lines.get(path))


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f", did you mean {close[0]}?"
    return f", there are: {', '.join(known)}" if known else ""


def _model_at(model: type[BaseModel], loc: tuple[str, ...]) -> type[BaseModel] | None:
    """The model that holds the key at the end of a path; None where that cannot be told."""
    here: Any = model
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = here.model_fields[part].annotation
        elif getattr(here, "__origin__", None) is dict:
            here = here.__args__[1]
        elif getattr(here, "__origin__", None) is list:
            here = here.__args__[0]
        else:
            return None
    if getattr(here, "__origin__", None) is dict:
        return None
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _plain(config: BaseModel, show_secrets: bool) -> dict[str, Any]:
    """A config as plain JSON values; pydantic writes the units, this hides or shows the secrets."""
    plain: dict[str, Any] = config.model_dump(mode="json")
    if show_secrets:
        for path, secret in _secrets(config):
            at: Any = plain
            for part in path[:-1]:
                at = at[part]
            at[path[-1]] = secret.get_secret_value()
    return plain


def _secrets(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], SecretStr]]:
    if isinstance(value, SecretStr):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _secrets(inner, (*path, index))
