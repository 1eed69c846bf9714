"""One reading of one file: YAML → Plan, with every mistake in it."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from otel_bridge import registry
from otel_bridge.call_log_names import variable
from otel_bridge.config import Config, written_in
from otel_bridge.errors import PlanError
from otel_bridge.files import Files
from otel_bridge.langfuse_names import Variables
from otel_bridge.mistakes import hint, holds_secret, needless, said
from otel_bridge.plan import checks
from otel_bridge.plan.planned import Plan, Planned, ServiceConfig, mapping, partial
from otel_bridge.plan.remarks import Place, Remarks
from otel_bridge.sides import SETTLED, side_of
from otel_bridge.written import expand, read_yaml

ConfigT = TypeVar("ConfigT", bound=Config)


def read(text: str, origin: str, variables: Variables, files: Files, *, allow_public: bool) -> Plan:
    """See `parse`."""
    reading = _Reading(Remarks(origin), variables, files)
    top, planned, service = reading.parts(text)
    remarks = reading.remarks
    checks.references(remarks, top)
    checks.addresses(remarks, planned)
    if service is not None:
        checks.limits(remarks, service)
        checks.tenants(remarks, service)
        checks.protection(remarks, planned, service, allow_public=allow_public)
        checks.private_files(remarks, planned, service, files.folder)
        checks.senders(remarks, planned["receivers"], service)
        checks.deliveries(remarks, planned["exporters"], service)
        checks.named(remarks, planned["processors"], service)
    if remarks.mistakes or service is None:
        raise PlanError([message for _, message in sorted(remarks.mistakes)])
    warnings, exposed = (tuple(said for _, said in sorted(found)) for found in (remarks.warnings, remarks.exposed))
    return Plan(
        origin,
        **planned,
        service=service,
        sources=reading.sources,
        warnings=exposed + warnings,
        exposed=exposed,
        files=files.stamps,
        folder=files.folder,
    )


class _Reading:
    def __init__(self, remarks: Remarks, variables: Variables, files: Files) -> None:
        self.remarks = remarks
        self.variables = variables
        self.files = files
        self.unreadable: set[Place] = set()
        self.sources: dict[str, str] = {}

    def parts(self, text: str) -> tuple[dict[str, Any], dict[str, dict[str, Planned]], ServiceConfig | None]:
        """The file as plain values, its components by section, and its service unless that has mistakes."""
        top = self.expand(read_yaml(text, self.remarks.origin), ())
        for key in [key for key in top if key not in (*registry.SECTIONS, "service")]:
            self.remarks.wrong((key,), "no such section" + hint(key, [*registry.SECTIONS, "service"]))
        own = self.own(top)
        planned = {section: self.section(section, top.get(section), own) for section in registry.SECTIONS}
        return top, planned, self.model(ServiceConfig, top.get("service"), ("service",))

    def expand(self, node: Any, path: Place) -> Any:
        """Plain values for YAML nodes: references to the environment replaced, lines remembered."""
        if isinstance(node, CommentedMap):
            out = {}
            for key, value in node.items():
                here = (*path, str(key))
                self.remarks.lines[here] = node.lc.key(key)[0] + 1
                out[str(key)] = self.expand(value, here)
            return out
        if isinstance(node, CommentedSeq):
            for index in range(len(node)):
                self.remarks.lines[(*path, str(index))] = node.lc.item(index)[0] + 1
            return [self.expand(value, (*path, str(index))) for index, value in enumerate(node)]
        source = f"{self.remarks.origin}:{self.remarks.line(path)}"
        if isinstance(node, str):
            of = self.variables
            read = expand(node, of.environ, self.files, is_secret=self.is_secret(path), called=of.taken)
            node = read.text
            for what in read.wrong:
                self.remarks.wrong(path, what)
                self.unreadable.add(path)
            self.remarks.used[path] = read.used
            source += "".join(f" {one}" for one in read.used)
        self.sources["::".join(path)] = source
        return node

    def is_secret(self, path: Place) -> bool:
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
        configured = list(mapping(top.get("exporters")))
        for tenant, of in mapping(mapping(top.get("service")).get("tenants")).items():
            for key, given in mapping(mapping(of).get("exporters")).items():
                if key not in configured:
                    path = ("service", "tenants", tenant, "exporters", key)
                    self.remarks.wrong(path, "is not configured" + hint(key, configured))
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
            self.remarks.wrong((section,), "must be a mapping of component ids to their configuration")
            return out
        for key, given in entries.items():
            name = key.partition("/")[0]
            if section == "exporters" and side_of(key) != key:
                self.remarks.wrong(
                    (section, key), f"an id that ends in '{SETTLED}' is the bridge's own: choose another"
                )
                continue
            found = registry.find(section, name)
            if found is None:
                there = needless(section, name) or hint(name, registry.names(section))
                self.remarks.wrong((section, key), f"no such {section[:-1]}{there}")
                continue
            given = self.overruled(found.config, given, (section, key))  # noqa: PLW2901 - the environment's word
            if section == "exporters" and key in own:
                config = self.model(partial(found.config), given, (section, key))
                tenants = self.tenants(key, found.config, mapping(given), own[key])
            else:
                config, tenants = self.model(found.config, given, (section, key)), {}
            if config is not None:
                out[key] = Planned(key, found, config, tenants)
        return out

    def overruled(self, model: type[Config], given: Any, path: Place) -> Any:
        """What was given, but for what the environment says otherwise."""
        found = {key: variable(name, self.variables.environ) for key, name in model.ENVIRONMENT.items()}
        found = {key: name for key, name in found.items() if self.variables.environ.get(name)}
        if not found or not isinstance(given, dict | None):
            return given
        for key, name in found.items():
            here = (*path, key)
            self.remarks.used[here] = [f"env {name}"]
            self.sources["::".join(here)] = f"{self.remarks.origin}:{self.remarks.line(here)} env {name}"
        return {**(given or {}), **{key: self.variables.environ[name] for key, name in found.items()}}

    def tenants(
        self, exporter: str, model: type[Config], base: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Config]:
        """The whole configuration of an exporter for each tenant that has keys of its own for it."""
        out = {}
        for tenant, given in own.items():
            path = ("service", "tenants", tenant, "exporters", exporter)
            whole = self.overruled(model, {**base, **given}, path)
            config = self.model(model, whole, path, said_of=base.keys() - given.keys())
            if config is not None:
                out[tenant] = config
        return out

    def model(self, model: type[ConfigT], given: Any, path: Place, said_of: Collection[str] = ()) -> ConfigT | None:
        """What was given, as a model; None where it has mistakes. What is wrong with `said_of` was said already."""
        try:
            return model.model_validate({} if given is None else given, context=written_in(self.files.folder))
        except ValidationError as error:
            for one in error.errors(include_url=False):
                at = (*path, *(str(part) for part in one["loc"] if part != "[key]"))
                if at not in self.unreadable and not (one["loc"] and one["loc"][0] in said_of):
                    self.remarks.wrong(at, said(one, model))
            return None
