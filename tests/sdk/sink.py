"""A destination for stock OTLP/HTTP exporters: keeps the names of spans and log records, or does not answer well."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATHS = ("/v1/traces", "/v1/logs", "/v1/metrics")


class Sink:
    """What arrived.

    busy: how many more are refused with 503 before one is answered by `status`.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.logs: list[LogRecord] = []
        self.status = 200
        self.busy = 0
        self.url = ""
        self.resource: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        return sorted(span.name for span in self.spans)

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for block in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resource |= {item.key: item.value.string_value for item in block.resource.attributes}
                self.spans += [span for scoped in block.scope_spans for span in scoped.spans]
        elif path == "/v1/logs":
            for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                self.logs += [record for scoped in logs.scope_logs for record in scoped.log_records]


@contextmanager
def sink(port: int = 0) -> Iterator[Sink]:
    found = Sink()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            status = found.status
            if found.busy:
                found.busy -= 1
                status = 503
            if self.path not in PATHS:
                status = 404
            if status == 200:
                found.take(self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
