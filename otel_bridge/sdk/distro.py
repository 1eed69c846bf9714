"""Auto-instrumentation: what `opentelemetry-instrument` and `otel-bridge run` load by their entry points."""

import os
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # published without types
from opentelemetry.sdk._configuration import _OTelSDKConfigurator

from otel_bridge.sdk import freezing, installing
from otel_bridge.sdk.batch import BatchLogRecordProcessor, BatchSpanProcessor
from otel_bridge.sdk.sampling import sampled_by, sampler
from otel_bridge.sdk.saying import log

DEFAULTS = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "none",  # its last try holds up the end of a program for ten seconds
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
}


class Distro(BaseDistro):  # type: ignore[misc]
    """Says where to send, where nobody has said it."""

    is_used = False

    def _configure(self, **_kwargs: Any) -> None:
        Distro.is_used = True
        freezing.thaw_in_time()
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        for signal in installing.PATHS:
            if url := installing.otlp(signal, None)[1]:
                os.environ[f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"] = url


class Configurator(_OTelSDKConfigurator):
    """OpenTelemetry's own, with our processors in the places of those that block, and ids, heartbeats and SIGTERM."""

    def _configure(self, **kwargs: Any) -> None:
        if not installing.is_enabled():
            return
        if os.environ.get("OTEL_CONFIG_FILE"):
            super()._configure()  # type: ignore[no-untyped-call]
            sampled_by("OTEL_CONFIG_FILE")
            installing.was_installed(installing.prepare_by_file())
            return
        folder = installing.spool_folder()
        sending: list[BatchSpanProcessor] = []
        logging: list[BatchLogRecordProcessor] = []

        def spans(exporter: Any) -> BatchSpanProcessor:
            sending.append(BatchSpanProcessor(exporter, spool=folder))
            return sending[-1]

        def logs(exporter: Any) -> BatchLogRecordProcessor:
            logging.append(BatchLogRecordProcessor(exporter, spool=folder))
            return logging[-1]

        kwargs.setdefault("sampler", sampler())
        kwargs["resource_attributes"] = {**installing.of_langfuse(), **(kwargs.get("resource_attributes") or {})}
        try:
            super()._configure(export_span_processor=spans, export_log_record_processor=logs, **kwargs)  # type: ignore[no-untyped-call]
        except RuntimeError as error:  # of OpenTelemetry, where a variable names what is not installed
            log.warning(
                "otel-bridge: nothing is set up, and nothing sent: %s. Names of exporters are otlp, console, none, and"
                " those that are installed",
                error,
            )
            return
        installing.was_installed(installing.prepare(sending, logging))


def instrumented() -> None:
    """All is instrumented, and the program's first line comes next."""
    if Distro.is_used:
        freezing.freeze()
