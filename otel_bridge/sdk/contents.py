"""What was said to something and by it, as attributes: whether it may be told, how much of it, what is left out."""

import os

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
MAX_CHARS = 64 << 10
OUTPUT_CUT, OUTPUT_BYTES = "otel_bridge.output.truncated", "otel_bridge.output.bytes"


def captures() -> bool:
    """Whether content may be said: unless the variable of the conventions says no."""
    return os.environ.get(CAPTURE, "").strip().lower() not in ("false", "0", "no", "no_content", "none")


def size(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
