"""Put on PYTHONPATH by `otel-bridge run`: instruments the program before its first line.

The program's Python may be another than the bridge's, and have less: then it is OpenTelemetry's own that is used.
"""

import os
import sys
from importlib.util import find_spec

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

if find_spec("otel_bridge") is not None:
    for name in ("CONTEXT", "DISTRO", "CONFIGURATOR"):
        os.environ.setdefault(f"OTEL_PYTHON_{name}", "otel_bridge")
try:
    from opentelemetry.instrumentation.auto_instrumentation import initialize
except ImportError:
    print(
        "otel-bridge: this Python has nothing that could instrument it, and runs as it is; install otel-bridge in its"
        " environment, or opentelemetry-distro with opentelemetry-exporter-otlp-proto-http",
        file=sys.stderr,
    )
else:
    # Between its releases OpenTelemetry has changed how content is asked for, and each takes the other's word for no.
    if os.environ.get(CAPTURE, "").lower() == "true" and find_spec("opentelemetry.util.genai") is not None:
        os.environ[CAPTURE] = "SPAN_ONLY"
    initialize()
