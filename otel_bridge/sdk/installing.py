"""OpenTelemetry's SDK set up for an agent: in one call, or by the processors added to one that is there already."""

import atexit
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from opentelemetry import _logs, propagate, trace
from opentelemetry import context as otel
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_bridge.announcement import DATA_DIR, DATA_DIR_VARIABLE, find
from otel_bridge.sdk.batch import BatchLogRecordProcessor, BatchSpanProcessor, environ, exit_seconds
from otel_bridge.sdk.context import ContextProcessor
from otel_bridge.sdk.installed import Engine, Installed, Provider
from otel_bridge.sdk.open_spans import BEAT_S, OpenSpans
from otel_bridge.sdk.refusals import HEARD, without_header
from otel_bridge.sdk.sampling import sampled_by, sampler
from otel_bridge.sdk.saying import log, public
from otel_bridge.sdk.signals import on_end, that_came

ENDPOINT, GRPC_ENDPOINT = "http://127.0.0.1:4318", "http://127.0.0.1:4317"
ENGINE = ("otel_bridge.embedded.engine", "Engine")  # found by its name: the agent's side imports nothing of the server
GENERAL = "OTEL_EXPORTER_OTLP_ENDPOINT"
HTTP = "http/protobuf"
OTLP = {HTTP: "otlp_proto_http", "grpc": "otlp_proto_grpc"}  # protocol → entry point
OURS = "otel_bridge"  # of the entry point of `otel_bridge.sdk.exporting`
PATHS = {"TRACES": "/v1/traces", "LOGS": "/v1/logs"}
E = TypeVar("E")
AUTO = "OTEL_BRIDGE_AUTO"
DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
SPOOL = "OTEL_BRIDGE_SPOOL"
YES = ("true", "1", "yes", "on")
ENABLED, HEARTBEAT = "OTEL_BRIDGE_ENABLED", "OTEL_BRIDGE_HEARTBEAT_SECONDS"
TALKATIVE = (  # of what cannot be sent, the processors say one line a minute
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.http.transport",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
)


class Runnable(Protocol):
    """A plan, as `otel_bridge.plan` makes it."""

    @property
    def data_dir(self) -> Path:
        """Where its bridge keeps its files."""


Destination: TypeAlias = str | Path | Runnable

_installed: Installed | None = None
_installing = threading.Lock()


def _let_go() -> None:
    """In a forked child: who held the lock is not there."""
    global _installing  # noqa: PLW0603 - a process has one
    _installing = threading.Lock()


os.register_at_fork(after_in_child=_let_go)


def install(endpoint: Destination | None = None, *, service: str | None = None, spool: Path | None = None) -> Installed:
    """Send this process's spans and log records to a bridge; the second call changes nothing.

    The variables of OpenTelemetry's SDK and exporters are honoured; so are `OTEL_TRACES_EXPORTER` and
    `OTEL_LOGS_EXPORTER` (`otlp`, `console`, `none`, any that is installed, several by commas), and as protocol of OTLP
    `http/protobuf` and `grpc`. Metrics are the program's own. A provider that somebody has set already is kept, and
    gets the processors.

    endpoint: of OTLP, without a path; else `OTEL_EXPORTER_OTLP_ENDPOINT`, else a bridge on this machine. The Path of
        a configuration, or a plan that was made of one: that bridge runs in this process, without a server, and
        nothing else is exported.
    spool: a folder that keeps what ended until the bridge has it, over an outage or the end of the process; else
        `OTEL_BRIDGE_SPOOL`. A bridge in this process has its journal for that.
    """
    global _installed  # noqa: PLW0603 - a process has one
    with _installing:
        if _installed is None:
            _installed = _set_up(endpoint, service, spool) if is_enabled() else Installed()
        return _installed


def is_enabled() -> bool:
    """Whether telemetry is wanted: not with `OTEL_SDK_DISABLED=true` or `OTEL_BRIDGE_ENABLED=false`."""
    from otel_bridge.langfuse_names import NO

    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and os.environ.get(ENABLED, "").strip().lower() not in NO


def was_installed(found: Installed) -> None:
    """Auto-instrumentation has done it: a call of `install` in the program changes nothing."""
    global _installed  # noqa: PLW0603 - a process has one
    with _installing:
        _installed = found


def prepare_by_file(spool: Path | None = None) -> Installed:
    """The same where OpenTelemetry's own file has set up the providers, which are flushed and shut down then."""
    from opentelemetry.sdk._logs import LoggerProvider

    if folder := spool or spool_folder():
        log.warning(
            "otel-bridge: everything goes without the spool in %s: OTEL_CONFIG_FILE alone says what sends, and how",
            folder,
        )
    tracers, loggers = trace.get_tracer_provider(), _logs.get_logger_provider()
    providers: list[Provider] = [
        each for each in (tracers, loggers) if isinstance(each, TracerProvider | LoggerProvider)
    ]
    return prepare((), (), providers=providers, has_logs=isinstance(loggers, LoggerProvider))


def prepare(
    spans: Sequence[BatchSpanProcessor],
    logs: Sequence[BatchLogRecordProcessor],
    engine: Engine | None = None,
    *,
    providers: Sequence[Provider] = (),
    has_logs: bool = False,
) -> Installed:
    """What is to be done beside sending: ids on spans, heartbeats, and a good end by SIGTERM.

    The provider of spans must be set; what stands in it already comes after.
    """
    quiet()
    _join_parent()
    if wanted := os.environ.get(AUTO):
        from otel_bridge.sdk.instrumenting import when_imported

        when_imported(wanted)
    found = Installed(spans, logs, OpenSpans(_beat_s() if logs or has_logs else None), engine, providers)
    if (add := _adds_spans(trace.get_tracer_provider())) is not None and found.open_spans is not None:
        add(ContextProcessor())
        add(found.open_spans)

    def end() -> None:
        found.shutdown(that_came() or ("SIGINT" if _is_by_ctrl_c() else None))
        _end_as_interrupted()

    atexit.register(end)  # before the providers' own
    if engine is not None:
        from otel_bridge.sdk.ending import before_threads_end

        before_threads_end(end)
    on_end(found.shutdown, exit_seconds())
    return found


def _end_as_interrupted() -> None:
    """Ctrl-C ends a program as SIGINT does, if nothing has run text since: what was imported to send has."""
    if _is_by_ctrl_c():
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - by which Python notes that again


def _is_by_ctrl_c() -> bool:
    """Whether the program ends by an interrupt that nobody caught."""
    return getattr(sys, "last_type", None) is KeyboardInterrupt


def _join_parent() -> None:
    """Go on in the trace of the program that started this one, where that says which it is."""
    said = {name: os.environ.get(name.upper(), "") for name in ("traceparent", "tracestate", "baggage")}
    carrier = {name: value for name, value in said.items() if value}
    if carrier and not trace.get_current_span().get_span_context().is_valid:
        otel.attach(propagate.extract(carrier, otel.get_current()))


def quiet() -> None:
    """Under our processors an exporter's own word for each failed try is left out: they say it once in a while.

    And no key is in what OpenTelemetry says of headers.
    """
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(HEARD)
    logging.getLogger("opentelemetry.util.re").addFilter(without_header)


def says_where(signal: str) -> bool:
    """Whether somebody has said where `TRACES` or `LOGS` go by OTLP."""
    return any(os.environ.get(name) for name in (GENERAL, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))


def protocol(signal: str, variables: Mapping[str, str] = os.environ) -> str:
    """The protocol of OTLP for `TRACES` or `LOGS`."""
    said = variables.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or variables.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return (said or HTTP).strip()


def spool_folder() -> Path | None:
    """Where `OTEL_BRIDGE_SPOOL` says; beside the bridge's own files where it says no more than yes."""
    from otel_bridge.langfuse_names import NO

    said = os.environ.get(SPOOL, "").strip()
    if said.lower() in ("", *NO):
        return None
    if said.lower() in YES:
        said = f"{_data_dir()}/spool"
    try:
        return Path(said).expanduser()
    except RuntimeError as error:  # the home of nobody, as in a container whose user has none
        log.warning("otel-bridge: there is no spool, as %s can not be used: %s; say a whole path", said, error)
        return None


def _set_up(endpoint: Destination | None, service: str | None, spool: Path | None) -> Installed:
    from opentelemetry.sdk._logs import LoggerProvider

    if endpoint is None and os.environ.get("OTEL_CONFIG_FILE"):
        return _set_up_by_file(spool)
    engine: Engine | None = None
    if endpoint is None or isinstance(endpoint, str):
        folder = spool or spool_folder()
        to_spans, to_logs = _exporters("TRACES", Spans, endpoint), _exporters("LOGS", Logs, endpoint)
        spans = [BatchSpanProcessor(exporter, spool=folder) for exporter in to_spans]
        logs = [BatchLogRecordProcessor(exporter, spool=folder) for exporter in to_logs]
        told = f"spans {_to(to_spans)}, log records {_to(to_logs)}"
    else:
        module, name = ENGINE
        engine = getattr(import_module(module), name)(endpoint)
        assert engine is not None  # noqa: S101 - it was made just now
        engine.start()
        told = "spans and log records to the bridge in this process"
        spans, logs = [BatchSpanProcessor(engine.spans)], [BatchLogRecordProcessor(engine.logs)]
    resource = Resource.create({**of_langfuse(), **({"service.name": service} if service else {})})
    if spans and _adds_spans(trace.get_tracer_provider()) is None:
        trace.set_tracer_provider(TracerProvider(sampler=sampler(), resource=resource, id_generator=_id_generator()))
    elif spans:
        sampled_by("the provider that was set before")
    if logs and _adds_logs(_logs.get_logger_provider()) is None:
        _logs.set_logger_provider(LoggerProvider(resource=resource))
    found = prepare(spans, logs, engine)
    instrument_threads()
    _add("spans", spans, provider := trace.get_tracer_provider(), _adds_spans(provider))
    _add("log records", logs, loggers := _logs.get_logger_provider(), _adds_logs(loggers))
    log.info("otel-bridge: exporting %s", told)
    return found


def _to(exporters: "Sequence[Spans | Logs]") -> str:
    """Where each sends to, and how."""
    places = [f"{each.where} ({each.protocol})" if each.protocol else each.where for each in exporters]
    return f"to {' and '.join(places)}" if places else "nowhere"


def _adds_spans(provider: object) -> Callable[[Any], None] | None:
    """How a provider gets processors: the SDK's, and those around it, as Logfire's."""
    return getattr(provider, "add_span_processor", None)


def _adds_logs(provider: object) -> Callable[[Any], None] | None:
    return getattr(provider, "add_log_record_processor", None)


def _add(what: str, processors: Sequence[object], provider: object, add: Callable[[Any], None] | None) -> None:
    if add is not None:
        for processor in processors:
            add(processor)
    elif processors:
        named = f"{type(provider).__module__}.{type(provider).__qualname__}"
        log.warning("otel-bridge: no %s are exported, as %s was set before and takes no processors", what, named)


def _set_up_by_file(spool: Path | None) -> Installed:
    """As OpenTelemetry's own file says, which is then the sole source; with ids, heartbeats and SIGTERM beside it."""
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator

    try:
        _OTelSDKConfigurator()._configure()  # type: ignore[no-untyped-call]  # noqa: SLF001 - as it is loaded
    except Exception as error:  # noqa: BLE001 - the agent goes on without telemetry
        log.warning("otel-bridge: OTEL_CONFIG_FILE can not be used, and nothing is exported: %s", error)
        return Installed()
    instrument_threads()
    sampled_by("OTEL_CONFIG_FILE")
    return prepare_by_file(spool)


def instrument_threads() -> None:
    """Context into threads and pools, by OpenTelemetry's instrumentation for them where that is installed."""
    if "threading" in [name.strip() for name in os.environ.get(DISABLED, "").split(",")]:
        return
    with contextlib.suppress(ImportError):
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor

        threads = ThreadingInstrumentor()
        if not threads.is_instrumented_by_opentelemetry:
            threads.instrument()


def of_langfuse() -> dict[str, str]:
    """What Langfuse's own variables say of the process."""
    from otel_bridge import langfuse_names as names

    variables = names.as_meant(os.environ)
    if hint := variables.hint((names.ENVIRONMENT, names.SAMPLE_RATE)):
        log.warning("otel-bridge: %s", hint)
    return names.resource(variables.environ)


def _id_generator() -> IdGenerator | None:
    """The one that is named; None: OpenTelemetry's own."""
    name = os.environ.get("OTEL_PYTHON_ID_GENERATOR", "").strip()
    if name in ("", "random"):
        return None
    try:
        return cast("IdGenerator", _made("opentelemetry_id_generator", name, None))
    except Exception as error:  # noqa: BLE001 - somebody's class; random ids are as good
        log.warning("otel-bridge: OTEL_PYTHON_ID_GENERATOR=%s can not be used, ids are random: %s", name, error)
        return None


def _exporters(signal: str, kind: Callable[[str, str | None], E], endpoint: str | None) -> list[E]:
    """One for each name in `OTEL_TRACES_EXPORTER` or `OTEL_LOGS_EXPORTER`."""
    names = [name.strip() for name in (os.environ.get(f"OTEL_{signal}_EXPORTER") or "otlp").split(",")]
    made = []
    for name in dict.fromkeys(names):
        if name in ("", "none"):
            continue
        made.append(kind(*otlp(signal, endpoint)) if name == "otlp" else kind(name, None))
    return made


def otlp(signal: str, endpoint: str | None) -> tuple[str, str | None]:
    """The exporter that sends `TRACES` or `LOGS` to a bridge, and where; None: where its own variables say."""
    spoken = protocol(signal)
    base = endpoint or (None if says_where(signal) else _here(spoken))
    path = "" if spoken == "grpc" else PATHS[signal]
    return OTLP.get(spoken, spoken), f"{base.rstrip('/')}{path}" if base else None


def _here(spoken: str) -> str:
    """Where the bridge on this machine takes OTLP: as the one that runs on the data dir announces it, on whatever port;
    else where any does by default."""
    with contextlib.suppress(RuntimeError):  # the home of nobody
        name = "grpc" if spoken == "grpc" else "http"
        found = find(Path(_data_dir()).expanduser())
        if found is not None and (announced := found.address("otlp", name=name)):
            return announced
    return GRPC_ENDPOINT if spoken == "grpc" else ENDPOINT


def _data_dir() -> str:
    """Of a bridge without a configuration."""
    return os.environ.get(DATA_DIR_VARIABLE) or DATA_DIR


def _made(group: str, name: str, url: str | None) -> Any:
    """What is installed under this name, by its entry point."""
    found = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        raise LookupError(f"no {name} is installed (entry points {group})")
    return found.load()(endpoint=url) if url else found.load()()


def _prepared(exporter: Any) -> Any:
    """One of ours imports then, and leaves it to the processor to count what is lost."""
    if (prepare := getattr(exporter, "prepare", None)) is not None:
        prepare()
    return exporter


class _Late:
    """OpenTelemetry's exporter, imported on the thread that sends: that takes a good part of a second."""

    signal: str

    def __init__(self, name: str, url: str | None) -> None:
        self._name = name
        self._url = url
        said = os.environ.get(f"OTEL_EXPORTER_OTLP_{self.signal}_ENDPOINT") or os.environ.get(GENERAL)
        self.where = public(url or said or name)
        spoken = {name: spoken for spoken, name in OTLP.items()} | {OURS: protocol(self.signal)}
        self.protocol = spoken.get(name)
        self.by_http = self.protocol == HTTP
        self._made: Any = None

    def prepare(self) -> None:
        """Import it."""
        self._made = _prepared(_made(f"opentelemetry_{self.signal.lower()}_exporter", self._name, self._url))

    @property
    def _client(self) -> Any:
        """As that of OpenTelemetry's exporters by HTTP: what sends bytes."""
        return self._made._client  # noqa: SLF001

    def shutdown(self) -> None:
        if self._made is not None:
            self._made.shutdown()


class Spans(_Late, SpanExporter):
    """Of spans."""

    signal = "TRACES"

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE if self._made is None else self._made.export(spans)


class Logs(_Late, LogRecordExporter):
    """Of log records."""

    signal = "LOGS"

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return LogRecordExportResult.FAILURE if self._made is None else self._made.export(batch)

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return True


def _beat_s() -> float | None:
    return environ(HEARTBEAT, BEAT_S, least=0) or None
