"""What no part of a configuration shows alone: names that lead nowhere, limits and addresses that undo each other,
what is open to all, and tenants whose data comes from nobody or goes nowhere."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from otel_bridge import langfuse_names as names
from otel_bridge.files import local
from otel_bridge.listening import ListeningConfig
from otel_bridge.mistakes import hint, needless
from otel_bridge.plan.planned import Plan, Planned, ServiceConfig, mapping
from otel_bridge.plan.remarks import Remarks
from otel_bridge.tenants import DEFAULT_TENANT, contradictions
from otel_bridge.tls import TlsConfig, is_readable_by_all

PIPELINE_SECTIONS = ("receivers", "processors", "exporters")
LISTENING_SECTIONS = ("receivers", "extensions")
ENDPOINT = re.compile(r"(.+):([0-9]{1,5})")
EVERYWHERE = {"0.0.0.0", "[::]"}  # noqa: S104 - compared with, not bound
ALLOW_PUBLIC = "OTEL_BRIDGE_INSECURE_ALLOW_PUBLIC"
PROTECT = (
    "add it, listen on 127.0.0.1, or say that only those reach it who may, by `insecure: true`, "
    f"`serve --insecure-allow-public` or {ALLOW_PUBLIC}=true"
)

OF_ENVIRONMENT = re.compile(r" env (\S+)")
INSTEAD = {
    names.SAMPLE_RATE: f"a processor `sample` with `rate: ${{env:{names.SAMPLE_RATE}:-1}}` does",
    names.ENVIRONMENT: f"`environment: ${{env:{names.ENVIRONMENT}:-}}` under service::translate does",
    names.ENABLED: "Langfuse gets everything all the same; take its exporter out of the pipelines",
}
"""What does what a variable of Langfuse's alone does not."""


def references(remarks: Remarks, top: Mapping[str, Any]) -> None:
    """Every name in a pipeline must be configured, and should be what is configured in a pipeline.

    As it was written: whatever else is wrong with it, the names are looked at.
    """
    used: set[tuple[str, str]] = set()
    pipelines = mapping(mapping(top.get("service")).get("pipelines"))
    for name, pipeline in pipelines.items():
        for section in PIPELINE_SECTIONS:
            given, configured = mapping(pipeline).get(section), list(mapping(top.get(section)))
            named: list[Any] = given if isinstance(given, list) else []
            for index, key in enumerate(named):
                if not isinstance(key, str):
                    continue  # which is said where the pipeline is read
                path = ("service", "pipelines", name, section)
                line = remarks.line((*path, str(index)))
                if key not in configured:
                    there = (
                        needless(section, key.partition("/")[0])
                        or hint(key, configured)
                        or f"; name it under {section}, as `{key}: {{}}`"
                    )
                    remarks.wrong(path, f"'{key}' is not configured{there}", line)
                elif key in named[:index]:
                    remarks.wrong(path, f"'{key}' is there twice", line)
                used.add((section, key))
    for section in PIPELINE_SECTIONS:
        for key in mapping(top.get(section)):
            if (section, key) not in used:
                what = f"no pipeline uses it, so it does nothing; add it to service::pipelines::…::{section}"
                remarks.warn((section, key), what)


def limits(remarks: Remarks, service: ServiceConfig) -> None:
    """What undoes another limit is a mistake; what makes the bridge less safe than usual is said."""
    assemble, journal = service.assemble, service.journal
    for name in ("grace", "remote_grace", "idle"):
        if getattr(assemble, name) > assemble.max_hold:
            remarks.wrong(("service", "assemble", name), "is above max_hold, after which no trace waits any longer")
    if journal.max_age < assemble.max_hold:
        what = "is below assemble::max_hold: spans would be given up while their trace still waits"
        remarks.wrong(("service", "journal", "max_age"), what)
    if journal.durability == "os":
        what = "NOT DURABLE: OK is said before the disk has it; when the machine dies the last seconds are lost"
        remarks.warn(("service", "journal", "durability"), what)


def addresses(remarks: Remarks, planned: Mapping[str, Mapping[str, Planned]]) -> None:
    """No two components may listen on one address."""
    taken: list[tuple[str, str, str]] = []
    for section in LISTENING_SECTIONS:
        for key, one in planned[section].items():
            for name, value in one.config:
                found = ENDPOINT.fullmatch(value) if isinstance(value, str) else None
                if found is None or int(found[2]) == 0:
                    continue
                host, port = found[1].replace("localhost", "127.0.0.1"), found[2]
                path = (section, key, name)
                for other, other_host, other_port in taken:
                    if port == other_port and (host == other_host or {host, other_host} & EVERYWHERE):
                        remarks.wrong(path, f"{value} is the address of {other} too, choose another port")
                taken.append(("::".join(path), host, port))


def tenants(remarks: Remarks, service: ServiceConfig) -> None:
    """What tenants say of each other holds."""
    for at, what in contradictions(service.tenants):
        remarks.wrong(("service", "tenants", *at), what)


def protection(
    remarks: Remarks, planned: Mapping[str, dict[str, Planned]], service: ServiceConfig, *, allow_public: bool
) -> None:
    """Nobody listens for the world by mistake. What may, by `allow_public`, is configured so from here on."""
    for section in LISTENING_SECTIONS:
        for key, one in planned[section].items():
            if not isinstance(one.config, ListeningConfig):
                continue
            exposed = one.config.exposed(tenants=bool(service.tenants))
            for name, what in exposed.items():
                if one.config.insecure or allow_public:
                    remarks.expose((section, key, name), f"INSECURE: {what}")
                else:
                    remarks.wrong((section, key, name), f"{what}: {PROTECT}")
            if exposed and allow_public:
                open_to_all = one.config.model_copy(update={"insecure": True})
                planned[section][key] = replace(one, config=open_to_all)


def private_files(
    remarks: Remarks, planned: Mapping[str, Mapping[str, Planned]], service: ServiceConfig, folder: Path
) -> None:
    """Nobody shows keys by mistake; folder: where names of files begin."""
    private = [
        (path, local(one.removeprefix("file "), folder))
        for path, used in remarks.used.items()
        for one in used
        if one.startswith("file ")
    ]
    for section in LISTENING_SECTIONS:
        for key, one in planned[section].items():
            tls = getattr(one.config, "tls", None)
            if isinstance(tls, TlsConfig):
                private.append(((section, key, "tls", "key_file"), tls.key_file))
    tell = remarks.wrong if service.strict_permissions else remarks.warn
    for path, file in private:
        if is_readable_by_all(file):
            tell(path, f"every user of this machine can read {file}: chmod 600 it")


def senders(remarks: Remarks, receivers: Mapping[str, Planned], service: ServiceConfig) -> None:
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
        remarks.warn(("service", "tenants", name), f"nobody can send as it: {what}")


def deliveries(remarks: Remarks, exporters: Mapping[str, Planned], service: ServiceConfig) -> None:
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
            remarks.warn(("exporters", key), what)


def named(remarks: Remarks, processors: Mapping[str, Planned], service: ServiceConfig) -> None:
    """What is said of a tenant is said of one that is there: rules for a wrong name would apply to nobody."""
    known = list(service.tenants) or [DEFAULT_TENANT]
    for key, one in processors.items():
        for name in getattr(one.config, "tenants", ()):
            path = ("processors", key, "tenants", name)
            if name in known:
                continue
            if service.tenants:
                remarks.wrong(path, "is no tenant" + hint(name, known))
            else:
                what = f"there are no service::tenants, so all is of {DEFAULT_TENANT}, and this does nothing"
                remarks.warn(path, what)


def variables_of(plan: Plan, variables: names.Variables) -> set[str]:
    """The variables that a plan has values of, by their right names."""
    right = {called: name for name, called in variables.taken.items()}
    return {right.get(name, name) for source in plan.sources.values() for name in OF_ENVIRONMENT.findall(source)}


def unread(plan: Plan, variables: names.Variables) -> Iterator[str]:
    """What Langfuse's variables say, of a bridge that sends there, and a configuration does not ask for."""
    used = {key.partition("/")[0] for pipeline in plan.service.pipelines.values() for key in pipeline.exporters}
    if "langfuse" not in used:
        return
    read = variables_of(plan, variables)
    says_nothing = {names.SAMPLE_RATE: ("1", "1.0")}
    for name, instead in INSTEAD.items():
        said = variables.environ.get(name, "").strip()
        if name == names.ENABLED and names.is_enabled(variables.environ):
            continue
        if said and name not in read and said not in says_nothing.get(name, ()):
            yield f"{variables.called(name)} is set, and {plan.origin} does not use it: {instead}"
