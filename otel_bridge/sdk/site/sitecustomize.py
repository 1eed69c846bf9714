"""Put on PYTHONPATH by `otel-bridge run`: instruments the program before its first line.

The program's Python may be another than the bridge's, and have less: then it is OpenTelemetry's own that is used.
"""

from __future__ import annotations  # which Pythons before 3.9 could not make sense of

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """By the signal itself, as nothing of the program has begun: KeyboardInterrupt would be a fatal error of Python's
    own start, with a page of text, or be lost in what is called while something is imported.
    """
    before = signal.getsignal(signal.SIGINT)
    is_usual = before is signal.default_int_handler
    try:
        if is_usual:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except ValueError:  # in an interpreter that is not the main one, to which no signal comes
        is_usual = False
    try:
        yield
    finally:
        if is_usual and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # else somebody has a use for it
            signal.signal(signal.SIGINT, before)


def instrument() -> None:
    """As far as there is something that does."""
    if find_spec("otel_bridge") is not None:
        for name in ("CONTEXT", "DISTRO", "CONFIGURATOR"):
            os.environ.setdefault(f"OTEL_PYTHON_{name}", "otel_bridge")
    try:
        from opentelemetry.instrumentation.auto_instrumentation import initialize
    except ImportError:
        print(
            "otel-bridge: this Python has nothing that could instrument it, and runs as it is; install otel-bridge in"
            " its environment, or opentelemetry-distro with opentelemetry-exporter-otlp-proto-http",
            file=sys.stderr,
        )
        return
    # Between its releases OpenTelemetry has changed how content is asked for, and each takes the other's word for no.
    if os.environ.get(CAPTURE, "").lower() == "true" and find_spec("opentelemetry.util.genai") is not None:
        os.environ[CAPTURE] = "SPAN_ONLY"
    initialize()


with ended_by_ctrl_c():
    instrument()
