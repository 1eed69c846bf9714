"""OTLP in files: protobuf and JSON, as the Collector's file exporter, ours and people write them.

- one request as protobuf, or as JSON (on one line or many);
- JSON lines, one request each;
- protobuf requests one after the other, each after its length in four bytes, big end first;
- the spool of an agent whose process has ended (`*.traces.spool`, `*.logs.spool`), see `otel_bridge.sdk.spool_files`.
"""

import fcntl
import re
import struct
import zlib
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge import otlp_json, otlp_repair
from otel_bridge.batch import REQUESTS, Batch, Request, Signal
from otel_bridge.errors import FilesError, MalformedError
from otel_bridge.files import reason
from otel_bridge.model import Omitted
from otel_bridge.telemetry import Counters

FIRST_FIELD = b"\n"  # field 1 with a length: how OTLP begins; as the first byte of a length it would mean 160 MiB
LENGTH_BYTES = 4  # of a record, before it, big-endian
MAX_RECORD = 1 << 28
SPOOL, SPOOL_HEAD, SPOOL_SENT = ".spool", struct.Struct(">III"), 1 << 31
JSON_SIGNALS = {b"resourceSpans": Signal.TRACES, b"resourceLogs": Signal.LOGS, b"resourceMetrics": Signal.METRICS}
JSON_SIGNAL = re.compile(b'"(' + b"|".join(JSON_SIGNALS) + b')"')


def read_batches(
    path: Path, counters: Counters | None = None, rejected: list[Omitted] | None = None, *, skip: int = 0
) -> Iterator[Batch]:
    """The requests of a file in their order, decoded, each read when it is asked for.

    The signal is the one that JSON names; for protobuf that of the file's name (`.traces.`, `.logs.`, `.metrics.`),
    else the one that its content can be.

    counters: where `repaired{what}` is counted.
    rejected: where given, items of JSON with unreadable ids or numbers are put there; else they make it malformed.
    skip: so many requests are passed over; they are not decoded. Of a spool, what its process has sent counts, and is
        empty.

    Raises:
        FilesError: it can not be opened or read.
        MalformedError: something in it is no OTLP; names the file and the place. What came before it was yielded.
    """
    try:
        with path.open("rb") as file:
            is_spool = path.suffix == SPOOL
            is_json = not is_spool and file.peek()[:1024].lstrip()[:1] == b"{"
            named = next((one for one in Signal if f".{one}." in path.name), None)
            read = _spool_records if is_spool else _json_documents if is_json else _protobuf_records
            records = read(file)
            for place, record in islice(records, skip, None):
                try:
                    if is_json:
                        signal = _signal_of_json(record, named)
                        batch = Batch.from_request(otlp_json.parse(signal, record, rejected, counters))
                    else:
                        batch = otlp_repair.decode(named or _signal_of_wire(record), record, counters or Counters())
                except MalformedError as error:
                    raise MalformedError(f"{place}: {error}") from error
                yield batch
    except OSError as error:
        raise FilesError(f"{path} can not be read: {reason(path, error)}") from error
    except MalformedError as error:
        raise MalformedError(f"{path}, {error}") from error


def _json_documents(file: BufferedReader) -> Iterator[tuple[str, bytes]]:
    first = file.readline()
    if file.peek(1) and not otlp_json.is_json(first):
        yield "the document", first + file.read()
        return
    for number, line in enumerate(chain([first], file), 1):
        if line.strip():
            yield f"line {number}", line


def _protobuf_records(file: BufferedReader) -> Iterator[tuple[str, bytes]]:
    if file.peek(1)[:1] == FIRST_FIELD:
        yield "the request", file.read()
        return
    at = 0
    while head := file.read(LENGTH_BYTES):
        length = int.from_bytes(head, "big")
        record = file.read(length) if len(head) == LENGTH_BYTES and length <= MAX_RECORD else b""
        if len(head) < LENGTH_BYTES or len(record) < length:
            raise MalformedError(f"the record at byte {at}: it is cut off, or this is no OTLP")
        yield f"the record at byte {at}", record
        at += LENGTH_BYTES + length


def _spool_records(file: BufferedReader) -> Iterator[tuple[str, bytes]]:
    """Nothing while its process lives, which sends it."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    at = 0
    while head := file.read(SPOOL_HEAD.size):
        length, crc, _items = SPOOL_HEAD.unpack(head) if len(head) == SPOOL_HEAD.size else (0, 0, 0)
        record = file.read(length & ~SPOOL_SENT)
        if zlib.crc32(record) != crc or not length:
            raise MalformedError(f"the record at byte {at}: it is cut off or damaged")
        yield f"the record at byte {at}", b"" if length & SPOOL_SENT else record
        at += SPOOL_HEAD.size + len(record)


def _signal_of_json(document: bytes, named: Signal | None) -> Signal:
    if found := JSON_SIGNAL.search(document):
        return JSON_SIGNALS[found[1]]
    if named is None:
        raise MalformedError("there is no resourceSpans, resourceLogs or resourceMetrics in it")
    return named


def _signal_of_wire(wire: bytes) -> Signal:
    """The three kinds of requests share their field numbers: it is the one whose items make sense."""
    for signal in (Signal.TRACES, Signal.METRICS, Signal.LOGS):
        try:
            request = REQUESTS[signal].FromString(wire)
        except DecodeError:
            continue
        if _makes_sense(request):
            return signal
    raise MalformedError("it is no OTLP, or its signal can not be told: name the file *.traces.pb, *.logs.pb ...")


def _makes_sense(request: Request) -> bool:
    if isinstance(request, ExportTraceServiceRequest):
        spans = [span for block in request.resource_spans for scoped in block.scope_spans for span in scoped.spans]
        return all(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans)
    if isinstance(request, ExportMetricsServiceRequest):
        metrics = [
            one for block in request.resource_metrics for scoped in block.scope_metrics for one in scoped.metrics
        ]
        return all(metric.name and metric.WhichOneof("data") for metric in metrics)
    return True
