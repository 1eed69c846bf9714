"""Put on PYTHONPATH by `otel-bridge run`: instruments the program before its first line.

The program's Python may be another than the bridge's, and have less: then it is OpenTelemetry's own that is used.
"""

import os
import sys
from importlib.util import find_spec

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
    initialize()
