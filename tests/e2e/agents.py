"""Two agents as programs of their own, on nothing but the stock OpenTelemetry SDK with its default timers.

`agents.py caller` starts a trace, hands it to `agents.py answerer` on its standard output, and says nothing of content;
the answerer makes the model call and sends what was said as a log record, as the official instrumentations do. Both
stay until their input ends, so that it is the timers that send, not the exit.
"""

import json
import sys
import uuid

from opentelemetry import _logs, propagate, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def caller() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(GrpcSpanExporter(insecure=True)))
    tracer = trace.get_tracer("caller", tracer_provider=provider)
    who = {"session.id": "s-1", "user.id": "u-1"}
    with tracer.start_as_current_span("handle", attributes=who), tracer.start_as_current_span("ask"):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        print(json.dumps(carrier), flush=True)
        sys.stdin.readline()  # the answer is there
    sys.stdin.read()


def answerer() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = trace.get_tracer("answerer", tracer_provider=provider)
    logs = LoggerProvider()
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    logger = _logs.get_logger("answerer", logger_provider=logs)
    context = propagate.extract(json.loads(sys.stdin.readline()))
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.response.id": str(uuid.uuid4()),
    }
    kind = trace.SpanKind.CLIENT
    with tracer.start_as_current_span("chat gpt-4o-mini", context=context, kind=kind, attributes=attributes):
        logger.emit(
            LogRecord(
                event_name="gen_ai.client.inference.operation.details",
                severity_number=SeverityNumber.INFO,
                attributes={
                    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Why?"}]}],
                    "gen_ai.output.messages": [
                        {
                            "role": "assistant",
                            "parts": [{"type": "text", "content": "Because."}],
                            "finish_reason": "stop",
                        }
                    ],
                },
            )
        )
    print("answered", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    {"caller": caller, "answerer": answerer}[sys.argv[1]]()
