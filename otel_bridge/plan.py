"""YAML → Plan: what is to run, every value checked, every mistake found at once.

The file has the Collector's shape. Mistakes read `file:line path: what, what to do`.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Optional

from pydantic import BaseModel, Field, SecretStr, ValidationError, create_model, field_validator
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from otel_bridge import langfuse_names as names
from otel_bridge import registry
from otel_bridge.announcement import DATA_DIR
from otel_bridge.assemble import AssembleConfig
from otel_bridge.component import Component, Kind
from otel_bridge.config import Bytes, BytesOrNone, Config, OfTenants, Seconds, written_in
from otel_bridge.delivery import DeliverConfig
from otel_bridge.errors import PlanError
from otel_bridge.files import Files, Stamp, local, stamp
from otel_bridge.listening import ListeningConfig
from otel_bridge.mistakes import hint, holds_secret, needless, said
from otel_bridge.sides import SETTLED, side_of
from otel_bridge.tenants import DEFAULT_TENANT, TenantConfig, TenantName, contradictions
from otel_bridge.tls import TlsConfig, is_readable_by_all
from otel_bridge.written import default_text, expand, read_text, read_yaml

ENDPOINT = re.compile(r"(.+):([0-9]{1,5})")
EVERYWHERE = {"0.0.0.0", "[::]"}  # noqa: S104 - compared with, not bound
ALLOW_PUBLIC = "OTEL_BRIDGE_INSECURE_ALLOW_PUBLIC"
PROTECT = (
    "add it, listen on 127.0.0.1, or say that only those reach it who may, by `insecure: true`, "
    f"`serve --insecure-allow-public` or {ALLOW_PUBLIC}=true"
)
PIPELINE_SECTIONS = ("receivers", "processors", "exporters")
DEFAULT = "default"  # the origin of the built-in configuration

REFERENCE_SCHEMA = {"type": "string", "pattern": r"\$\{(env|file):"}
ANNOTATIONS = ("title", "description", "default", "examples")


class JournalConfig(Config):
    """The durable log between the receivers and everything else."""

    max_bytes: Annotated[Bytes, Field(ge=1 << 20)] = 8 << 30
    max_age: Seconds = 7 * 24 * 3600  # what is older is given up, and counted as expired
    when_full: Literal["refuse", "drop_oldest"] = "refuse"  # drop_oldest: counted as evicted where it was not delivered
    keep: BytesOrNone = 256 << 20  # of what is delivered everywhere, for `replay`; goes first when there is no room
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

    INSTEAD: ClassVar = {"extensions": "whatever stands under extensions runs: leave it out"}

    data_dir: str = DATA_DIR
    journal: JournalConfig = JournalConfig()
    assemble: AssembleConfig = AssembleConfig()
    deliver: DeliverConfig = DeliverConfig()
    translate: TranslateConfig = TranslateConfig()
    tenants: dict[TenantName, TenantConfig] = Field(default_factory=dict)
    strict_permissions: bool = False  # a key file that every user of the machine can read is a mistake, and no warning
    pipelines: dict[str, PipelineConfig] = Field(min_length=1)

    @field_validator("data_dir")
    @classmethod
    def _leads_somewhere(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("must not be empty")
        local(name)
        return name


@dataclass(slots=True, frozen=True)
class Planned:
    """A component with the configuration that it will run with.

    tenants: of an exporter, the configuration for each tenant that has keys of its own for it. Where there are any, it
        runs once for each of these tenants, and never with `config`, which may then lack what is required.
    """

    id: str
    component: Component[Any]
    config: Config
    tenants: Mapping[str, Config] = field(default_factory=dict)

    @property
    def has_secrets(self) -> bool:
        """Whether `config` holds what gives access to something that is somebody's."""
        return any(secret.get_secret_value() for _, secret in _secrets(self.config))


@dataclass(slots=True, frozen=True)
class Plan:
    """A configuration that can be run.

    origin: what it was read from, for messages.
    sources: `service::data_dir` → where the value was given, as `bridge.yaml:14` or `bridge.yaml:14 env X`.
    warnings: what is probably not meant, in the form of mistakes.
    exposed: of these, what listens for others than this machine without protection, as it was told to.
    files: what it was read from, as that was then; also what was looked for in vain.
    folder: where names of files in it begin.
    """

    origin: str
    receivers: Mapping[str, Planned]
    processors: Mapping[str, Planned]
    exporters: Mapping[str, Planned]
    extensions: Mapping[str, Planned]
    service: ServiceConfig
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    files: Mapping[Path, Stamp] = field(default_factory=dict)
    folder: Path = field(default_factory=Path)

    def processors_of(self, pipeline: str, kind: Kind) -> list[Planned]:
        """The processors of one kind that a pipeline names, in its order."""
        named = [self.processors[key] for key in self.service.pipelines[pipeline].processors]
        return [planned for planned in named if planned.component.kind is kind]

    @property
    def data_dir(self) -> Path:
        """Where the bridge keeps its files, absolute."""
        return local(self.service.data_dir, self.folder).absolute()

    def to_dict(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """The whole configuration with every default filled in, as plain values; secrets are `***` unless asked for."""
        whole: dict[str, Any] = {
            section: {key: _whole(planned.config, show_secrets) for key, planned in getattr(self, section).items()}
            for section in registry.SECTIONS
        }
        service = whole["service"] = _plain(self.service, show_secrets)
        for name, tenant in self.service.tenants.items():
            service["tenants"][name]["exporters"] = {
                key: _only(_plain(self.exporters[key].tenants[name], show_secrets), own)
                for key, own in tenant.exporters.items()
            }
        return {section: values for section, values in whole.items() if values}


def load(path: Path | None, *, environ: Mapping[str, str], allow_public: bool = False) -> Plan:
    """Read a configuration; None stands for the default, with Langfuse where its keys are in the environment.

    allow_public: whatever listens for others than this machine without protection is meant to.

    The environment is read here and nowhere else.

    Raises:
        PlanError: with all mistakes.
    """
    environ, hint = names.as_meant(environ)
    allow_public = allow_public or environ.get(ALLOW_PUBLIC, "").strip().lower() not in ("", *names.NO)
    if path is None:
        has_keys = environ.get(names.PUBLIC_KEY) and environ.get(names.SECRET_KEY)
        with_langfuse = bool(has_keys) and names.is_enabled(environ)
        plan = parse(default_text(langfuse=with_langfuse), DEFAULT, environ=environ, allow_public=allow_public)
    else:
        path = path.absolute()
        files = Files(path.parent, {path: stamp(path)})  # before it is read: what is written meanwhile is a change
        try:
            plan = parse(read_text(path), path.name, environ=environ, allow_public=allow_public, files=files)
        except PlanError as error:
            error.files = files.stamps
            raise
    return plan if hint is None else replace(plan, warnings=(*plan.warnings, hint))


def parse(
    text: str, origin: str, *, environ: Mapping[str, str], allow_public: bool = False, files: Files | None = None
) -> Plan:
    """Make a plan of the text of a configuration; `origin` names it in messages, `files` reads what it refers to, and
    `allow_public` is as in `load`.

    Raises:
        PlanError: with all mistakes.
    """
    return _Reading(origin, environ, files or Files(), allow_public=allow_public).plan(text)


def schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, with every component that is installed."""
    definitions: dict[str, Any] = {}

    def of(model: type[BaseModel]) -> Any:
        made = model.model_json_schema(mode="serialization")  # in which defaults have their units
        definitions.update({name: _or_reference(one) for name, one in made.pop("$defs", {}).items()})
        return _or_reference(made)

    sections: dict[str, Any] = {}
    for section in registry.SECTIONS:
        patterns = {}
        for name in registry.names(section):
            found = registry.find(section, name)
            if found is not None:
                # What an exporter requires may stand with each tenant instead.
                model = _partial(found.config) if section == "exporters" else found.config
                patterns[f"^{name}(/.+)?$"] = {"anyOf": [{"type": "null"}, of(model)]}
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


def _or_reference(node: Any) -> Any:
    """The same schema; where a value must have a form, a reference to the environment may stand in its place."""
    if isinstance(node, list):
        return [_or_reference(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") in ("integer", "number", "boolean") or not {"pattern", "enum", "const"}.isdisjoint(node):
        form = {key: value for key, value in node.items() if key not in ANNOTATIONS}
        notes = {key: value for key, value in node.items() if key in ANNOTATIONS}
        return {"anyOf": [form, REFERENCE_SCHEMA], **notes}
    return {key: value if key == "default" else _or_reference(value) for key, value in node.items()}


class _Reading:
    """One reading of one file: collects mistakes until the end."""

    def __init__(self, origin: str, environ: Mapping[str, str], files: Files, *, allow_public: bool) -> None:
        self.origin = origin
        self.allow_public = allow_public
        self.exposed: list[tuple[int, str]] = []
        self.environ = environ
        self.files = files
        self.mistakes: list[tuple[int, str]] = []
        self.warnings: list[tuple[int, str]] = []
        self.lines: dict[tuple[str, ...], int] = {}
        self.used: dict[tuple[str, ...], list[str]] = {}  # `env X`, `file /run/x`
        self.unreadable: set[tuple[str, ...]] = set()
        self.sources: dict[str, str] = {}

    def wrong(self, path: tuple[str, ...], what: str, line: int | None = None) -> None:
        self.mistakes.append(self.remark(path, what, line))

    def remark(self, path: tuple[str, ...], what: str, line: int | None = None) -> tuple[int, str]:
        known = line or self.line(path)
        used = " ".join(one.removeprefix("env ") for one in self.used.get(path, ()))
        if used and self.origin == DEFAULT:  # a file that nobody wrote
            return known, f"{used}: {what}"
        taken = f" (the value is that of {used})" if used else ""
        return known, f"{self.origin}:{known} {'::'.join(path) + ': ' if path else ''}{what}{taken}"

    def line(self, path: tuple[str, ...]) -> int:
        """Where a key stands, or the nearest of those around it."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)

    def plan(self, text: str) -> Plan:
        top = self.expand(read_yaml(text, self.origin), ())
        for key in [key for key in top if key not in (*registry.SECTIONS, "service")]:
            self.wrong((key,), "no such section" + hint(key, [*registry.SECTIONS, "service"]))
        own = self.own(top)
        planned = {section: self.section(section, top.get(section), own) for section in registry.SECTIONS}
        service = self.model(ServiceConfig, top.get("service"), ("service",))
        self.references(top)
        self.addresses(planned)
        if isinstance(service, ServiceConfig):
            self.limits(service)
            self.protection(planned, service)
            self.senders(planned["receivers"], service)
            self.deliveries(planned["exporters"], service)
            self.named(planned["processors"], service)
        if self.mistakes or not isinstance(service, ServiceConfig):
            raise PlanError([message for _, message in sorted(self.mistakes)])
        warnings, exposed = (tuple(said for _, said in sorted(found)) for found in (self.warnings, self.exposed))
        return Plan(
            self.origin,
            **planned,
            service=service,
            sources=self.sources,
            warnings=exposed + warnings,
            exposed=exposed,
            files=self.files.stamps,
            folder=self.files.folder,
        )

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
        source = f"{self.origin}:{self.line(path)}"
        if isinstance(node, str):
            read = expand(node, self.environ, self.files, is_secret=self.is_secret(path))
            node = read.text
            for what in read.wrong:
                self.wrong(path, what)
                self.unreadable.add(path)
            self.used[path] = read.used
            source += "".join(f" {one}" for one in read.used)
        self.sources["::".join(path)] = source
        return node

    def is_secret(self, path: tuple[str, ...]) -> bool:
        """Whether a value that stands there gives access to something, or is part of what does."""
        section, *rest = path
        model: type[BaseModel] = ServiceConfig
        if path[:2] == ("service", "tenants") and path[3:4] == ("exporters",):
            section, rest = "exporters", rest[3:]
        if section in registry.SECTIONS and rest:
            found = registry.find(section, rest.pop(0).partition("/")[0])
            if found is None:
                return False
            model = found.config
        return holds_secret(model, rest)

    def own(self, top: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
        """Exporter → tenant → the keys that are its own."""
        out: dict[str, dict[str, dict[str, Any]]] = {}
        configured = list(_mapping(top.get("exporters")))
        for tenant, of in _mapping(_mapping(top.get("service")).get("tenants")).items():
            for key, given in _mapping(_mapping(of).get("exporters")).items():
                if key not in configured:
                    path = ("service", "tenants", tenant, "exporters", key)
                    self.wrong(path, "is not configured" + hint(key, configured))
                elif isinstance(given, dict):  # else said when the service is read
                    out.setdefault(key, {})[tenant] = given
        return out

    def section(
        self, section: str, entries: Any, own: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> dict[str, Planned]:
        out: dict[str, Planned] = {}
        if entries is None:
            return out
        if not isinstance(entries, dict):
            self.wrong((section,), "must be a mapping of component ids to their configuration")
            return out
        for key, given in entries.items():
            name = key.partition("/")[0]
            if section == "exporters" and side_of(key) != key:
                self.wrong((section, key), f"an id that ends in '{SETTLED}' is the bridge's own: choose another")
                continue
            found = registry.find(section, name)
            if found is None:
                there = needless(section, name) or hint(name, registry.names(section))
                self.wrong((section, key), f"no such {section[:-1]}{there}")
                continue
            if section == "exporters" and key in own:
                config = self.model(_partial(found.config), given, (section, key))
                tenants = self.tenants(key, found.config, _mapping(given), own[key])
            else:
                config, tenants = self.model(found.config, given, (section, key)), {}
            if config is not None:
                out[key] = Planned(key, found, config, tenants)
        return out

    def tenants(
        self, exporter: str, model: type[Config], base: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Config]:
        """The whole configuration of an exporter for each tenant that has keys of its own for it."""
        out = {}
        for tenant, given in own.items():
            path = ("service", "tenants", tenant, "exporters", exporter)
            config = self.model(model, {**base, **given}, path, said_of=base.keys() - given.keys())
            if config is not None:
                out[tenant] = config
        return out

    def model(
        self, model: type[Config], given: Any, path: tuple[str, ...], said_of: Collection[str] = ()
    ) -> Config | None:
        """What was given, as a model; None where it has mistakes. What is wrong with `said_of` was said already."""
        try:
            return model.model_validate({} if given is None else given, context=written_in(self.files.folder))
        except ValidationError as error:
            for one in error.errors(include_url=False):
                at = (*path, *(str(part) for part in one["loc"] if part != "[key]"))
                if at not in self.unreadable and not (one["loc"] and one["loc"][0] in said_of):
                    self.wrong(at, said(one, model))
            return None

    def references(self, top: Mapping[str, Any]) -> None:
        """Every name in a pipeline must be configured, and should be what is configured in a pipeline.

        As it was written: whatever else is wrong with it, the names are looked at.
        """
        used: set[tuple[str, str]] = set()
        pipelines = _mapping(_mapping(top.get("service")).get("pipelines"))
        for name, pipeline in pipelines.items():
            for section in PIPELINE_SECTIONS:
                given, configured = _mapping(pipeline).get(section), list(_mapping(top.get(section)))
                named: list[Any] = given if isinstance(given, list) else []
                for index, key in enumerate(named):
                    if not isinstance(key, str):
                        continue  # which is said where the pipeline is read
                    path = ("service", "pipelines", name, section)
                    line = self.line((*path, str(index)))
                    if key not in configured:
                        there = (
                            needless(section, key.partition("/")[0])
                            or hint(str(key), configured)
                            or f"; name it under {section}, as `{key}: {{}}`"
                        )
                        self.wrong(path, f"'{key}' is not configured{there}", line)
                    elif key in named[:index]:
                        self.wrong(path, f"'{key}' is there twice", line)
                    used.add((section, str(key)))
        for section in PIPELINE_SECTIONS:
            for key in _mapping(top.get(section)):
                if (section, key) not in used:
                    what = f"no pipeline uses it, so it does nothing; add it to service::pipelines::…::{section}"
                    self.warnings.append(self.remark((section, key), what))

    def limits(self, service: ServiceConfig) -> None:
        """What undoes another limit is a mistake; what makes the bridge less safe than usual is said."""
        assemble, journal = service.assemble, service.journal
        for name in ("grace", "remote_grace", "idle"):
            if getattr(assemble, name) > assemble.max_hold:
                self.wrong(("service", "assemble", name), "is above max_hold, after which no trace waits any longer")
        if journal.max_age < assemble.max_hold:
            what = "is below assemble::max_hold: spans would be given up while their trace still waits"
            self.wrong(("service", "journal", "max_age"), what)
        if journal.durability == "os":
            what = "NOT DURABLE: OK is said before the disk has it; when the machine dies the last seconds are lost"
            self.warnings.append(self.remark(("service", "journal", "durability"), what))

    def addresses(self, planned: Mapping[str, Mapping[str, Planned]]) -> None:
        """No two components may listen on one address."""
        taken: list[tuple[str, str, str]] = []
        for section in ("receivers", "extensions"):
            for key, one in planned[section].items():
                for name, value in one.config:
                    found = ENDPOINT.fullmatch(value) if isinstance(value, str) else None
                    if found is None or int(found[2]) == 0:
                        continue
                    host, port = found[1].replace("localhost", "127.0.0.1"), found[2]
                    path = (section, key, name)
                    for other, other_host, other_port in taken:
                        if port == other_port and (host == other_host or {host, other_host} & EVERYWHERE):
                            self.wrong(path, f"{value} is the address of {other} too, choose another port")
                    taken.append(("::".join(path), host, port))

    def protection(self, planned: dict[str, dict[str, Planned]], service: ServiceConfig) -> None:
        """What tenants say of each other holds; and nobody listens for the world, or shows keys, by mistake."""
        for at, what in contradictions(service.tenants):
            self.wrong(("service", "tenants", *at), what)
        private = [
            (path, local(one.removeprefix("file "), self.files.folder))
            for path, used in self.used.items()
            for one in used
            if one.startswith("file ")
        ]
        for section in ("receivers", "extensions"):
            for key, one in planned[section].items():
                tls = getattr(one.config, "tls", None)
                if isinstance(tls, TlsConfig):
                    private.append(((section, key, "tls", "key_file"), tls.key_file))
                if not isinstance(one.config, ListeningConfig):
                    continue
                exposed = one.config.exposed(tenants=bool(service.tenants))
                for name, what in exposed.items():
                    if one.config.insecure or self.allow_public:
                        self.exposed.append(self.remark((section, key, name), f"INSECURE: {what}"))
                    else:
                        self.wrong((section, key, name), f"{what}: {PROTECT}")
                if exposed and self.allow_public:
                    open_to_all = one.config.model_copy(update={"insecure": True})
                    planned[section][key] = replace(one, config=open_to_all)
        for at, file in private:
            if is_readable_by_all(file):
                found = self.remark(at, f"every user of this machine can read {file}: chmod 600 it")
                (self.mistakes if service.strict_permissions else self.warnings).append(found)

    def senders(self, receivers: Mapping[str, Planned], service: ServiceConfig) -> None:
        """A tenant that nobody can send as is told of; `default` is that of whoever is in the bridge's own process."""
        shows = [getattr(one.config, "tls", None) for one in receivers.values()]
        asks_certificates = any(isinstance(tls, TlsConfig) and tls.client_ca_file is not None for tls in shows)
        is_named = any(getattr(one.config, "tenant_from", None) is not None for one in receivers.values())
        sent_for = {other for of in service.tenants.values() for other in of.sends_for} if is_named else set()
        for name, of in service.tenants.items():
            if of.keys or (of.certificates and asks_certificates) or name in (*sent_for, DEFAULT_TENANT):
                continue
            what = "give it keys or certificates, or name it in another's sends_for and say tenant_from at the receiver"
            if of.certificates:
                what = "no receiver asks for certificates: set tls::client_ca_file there, or give it keys"
            self.warnings.append(self.remark(("service", "tenants", name), f"nobody can send as it: {what}"))

    def deliveries(self, exporters: Mapping[str, Planned], service: ServiceConfig) -> None:
        """Whose data goes nowhere is said."""
        used = {key for pipeline in service.pipelines.values() for key in pipeline.exporters}
        for key, one in exporters.items():
            have = one.tenants or ([DEFAULT_TENANT] if one.has_secrets else service.tenants)
            without = [name for name in service.tenants if name not in have]
            if key in used and without:
                theirs = f"those of {', '.join(have)}" if one.tenants else "not for tenants"
                what = (
                    f"its keys are {theirs}, and what is from {', '.join(without)} is not sent: give each keys"
                    f" of its own by service::tenants::…::exporters::{key}, or {{}} where the exporter's are meant"
                )
                self.warnings.append(self.remark(("exporters", key), what))

    def named(self, processors: Mapping[str, Planned], service: ServiceConfig) -> None:
        """What is said of a tenant is said of one that is there: rules for a wrong name would apply to nobody."""
        known = list(service.tenants) or [DEFAULT_TENANT]
        for key, one in processors.items():
            for name in getattr(one.config, "tenants", ()):
                path = ("processors", key, "tenants", name)
                if name in known:
                    continue
                if service.tenants:
                    self.wrong(path, "is no tenant" + hint(name, known))
                else:
                    what = f"there are no service::tenants, so all is of {DEFAULT_TENANT}, and this does nothing"
                    self.warnings.append(self.remark(path, what))


def _partial(model: type[Config]) -> type[Config]:
    """The same, with nothing required."""
    fields: dict[str, Any] = {
        name: (Optional[of.annotation], None)  # noqa: UP045 - an annotation that is only known now
        for name, of in model.model_fields.items()
        if of.is_required()
    }
    made: type[Config] = create_model(model.__name__, __base__=model, **fields)
    return made


def _only(plain: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: plain[key] for key in keys}


def _mapping(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}


def _whole(config: Config, show_secrets: bool) -> dict[str, Any]:
    """The same as `_plain`; where something else is said for some tenants, with all that is so for each of them."""
    plain = _plain(config, show_secrets)
    if isinstance(config, OfTenants):
        plain["tenants"] = {
            name: _only(_plain(config.of(name), show_secrets), type(own).model_fields)
            for name, own in config.tenants.items()
        }
    return plain


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
