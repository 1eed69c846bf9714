"""Put on PYTHONPATH by `otel-bridge run`: instruments the program before its first line."""

import sys

try:
    from opentelemetry.instrumentation.auto_instrumentation import initialize
except ImportError:
    print(
        "otel-bridge: this Python has no opentelemetry-instrumentation, and runs as it is; install otel-bridge (or"
        " opentelemetry-instrumentation with opentelemetry-exporter-otlp-proto-http) in its environment",
        file=sys.stderr,
    )
else:
    initialize()
