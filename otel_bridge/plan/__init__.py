"""YAML → Plan: what is to run, every value checked, every mistake found at once.

The file has the Collector's shape. Mistakes read `file:line path: what, what to do`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from otel_bridge import call_log_names
from otel_bridge import langfuse_names as names
from otel_bridge.errors import PlanError
from otel_bridge.files import Files, stamp
from otel_bridge.plan import checks
from otel_bridge.plan.checks import ALLOW_PUBLIC
from otel_bridge.plan.planned import JournalConfig, PipelineConfig, Plan, Planned, ServiceConfig
from otel_bridge.plan.reading import read
from otel_bridge.plan.remarks import DEFAULT
from otel_bridge.plan.schema import schema
from otel_bridge.written import default_text, read_text

__all__ = [
    "DEFAULT",
    "JournalConfig",
    "PipelineConfig",
    "Plan",
    "Planned",
    "ServiceConfig",
    "load",
    "parse",
    "schema",
]


def load(path: Path | None, *, environ: Mapping[str, str], allow_public: bool = False) -> Plan:
    """Read a configuration; None stands for the default, with Langfuse where its keys are in the environment, and a log
    of calls where that asks for one.

    allow_public: whatever listens for others than this machine without protection is meant to.

    The environment is read here and nowhere else.

    Raises:
        PlanError: with all mistakes.
    """
    variables = names.as_meant(environ)
    consulted = set()
    allow_public = allow_public or environ.get(ALLOW_PUBLIC, "").strip().lower() not in ("", *names.NO)
    if path is None:
        has_keys = environ.get(names.PUBLIC_KEY) and environ.get(names.SECRET_KEY)
        with_langfuse = bool(has_keys) and names.is_enabled(variables.environ)
        consulted |= {names.ENABLED} if has_keys else set()
        text = default_text(langfuse=with_langfuse, call_log=call_log_names.is_on(environ))
        plan = read(text, DEFAULT, variables, Files(), allow_public=allow_public)
    else:
        path = path.absolute()
        files = Files(path.parent, {path: stamp(path)})  # before it is read: what is written meanwhile is a change
        try:
            plan = read(read_text(path), path.name, variables, files, allow_public=allow_public)
        except PlanError as error:
            error.files = files.stamps
            raise
    told = [*checks.unread(plan, variables)]
    if hint := variables.hint(consulted | checks.variables_of(plan, variables)):
        told.append(hint)
    if (missing := _missing_log(plan, environ)) is not None:
        told.append(missing)
    return replace(plan, warnings=(*plan.warnings, *told))


def _missing_log(plan: Plan, environ: Mapping[str, str]) -> str | None:
    """Where a configuration has several pipelines, only its author knows which may be logged."""
    name = call_log_names.EXPORTER
    if not call_log_names.is_on(environ) or any(one.component.name == name for one in plan.exporters.values()):
        return None
    said = call_log_names.variable(call_log_names.LEVEL, environ)
    return (
        f"{said} does nothing here: {plan.origin} has no exporter {name}; add it, as `{name}: {{}}`, and to a pipeline"
    )


def parse(
    text: str, origin: str, *, environ: Mapping[str, str], allow_public: bool = False, files: Files | None = None
) -> Plan:
    """Make a plan of the text of a configuration; `origin` names it in messages, `files` reads what it refers to, and
    `allow_public` is as in `load`.

    Raises:
        PlanError: with all mistakes.
    """
    return read(text, origin, names.as_meant(environ), files or Files(), allow_public=allow_public)
