"""A fake Langfuse for loads, in a process of its own: of each span it keeps only how often it came, and how late.

`with sink_process() as sink:` in a program; `python -m tests.e2e.sink --port 3000` by hand.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web
from isal import isal_zlib
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault, Route
from tests.e2e.load import Counts, Load, Spread, numbered

SILENCE = Fault(does="disconnect")


class CountingLangfuse(FakeLangfuse):
    """A Langfuse 4 whose observations are counts, by sender and number of the span."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = deque(maxlen=0)  # they would fill the memory
        self.counts: defaultdict[int, Counts] = defaultdict(Counts)
        self.exports = 0
        self.spans = 0
        self.repeated = 0
        self.last_s = 0.0
        self.delays = Spread()

    def _add_routes(self, app: web.Application) -> None:
        super()._add_routes(app)
        app.router.add_get("/fake/totals", self._totals)
        app.router.add_get("/fake/counts/{sender}", self._counts)

    def _otlp(self, request: web.Request, body: bytes) -> web.Response:
        if "gzip" in request.headers.get("Content-Encoding", ""):
            body = isal_zlib.decompress(body, 31)
        blocks = ExportTraceServiceRequest.FromString(body).resource_spans
        self.exports += 1
        now_ns, self.last_s = time.time_ns(), time.time()
        for block in blocks:
            for scoped in block.scope_spans:
                for span in scoped.spans:
                    sender, number = numbered(span.span_id)
                    self.spans += 1
                    self.repeated += self.counts[sender].add(number)
                    self.delays.add(max(0, now_ns - span.start_time_unix_nano) / 1e9)
        return web.json_response({"id": "job"})

    async def _totals(self, _request: web.Request) -> web.Response:
        names = ("exports", "spans", "repeated", "last_s")
        said = {name: getattr(self, name) for name in names}
        return web.json_response({**said, "delays": self.delays.counts})

    async def _counts(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(self.counts[int(request.match_info["sender"])].bytes))


@dataclass(slots=True, frozen=True)
class Totals:
    """What came so far: requests, spans in them, spans that had come before; when the last came, and how late each."""

    exports: int
    spans: int
    repeated: int
    last_s: float
    delays: Spread


@dataclass(slots=True)
class Sink:
    """The process, asked and told from outside."""

    url: str
    pid: int

    def totals(self) -> Totals:
        said = json.loads(self._get("/fake/totals"))
        said["delays"] = Spread(Counter({int(tenth): count for tenth, count in said["delays"].items()}))
        return Totals(**said)

    def counts(self, sender: int) -> bytes:
        """How often each span of a sender came."""
        return self._get(f"/fake/counts/{sender}")

    def lost(self, load: Load) -> list[int]:
        """The spans that were acknowledged to this load and have not come."""
        return load.lost(self.counts(load.sender))

    def until_there(self, load: Load, wait_s: float) -> list[int]:
        """Wait for all that was acknowledged; returns what is missing when nothing came for `wait_s`."""
        seen, until = -1, time.monotonic() + wait_s
        while missing := self.lost(load):
            if (now := self.totals().spans) != seen:
                seen, until = now, time.monotonic() + wait_s
            if time.monotonic() > until:
                break
            time.sleep(min(0.2 + len(load.states) / 5e6, 2))
        return missing

    def script(self, route: Route, *faults: Fault) -> None:
        """The next answers of a route."""
        self._tell(route, faults, always=False)

    def down(self, fault: Fault = SILENCE) -> None:
        """From now on nobody gets another answer than this."""
        for route in ("health", "otlp"):
            self._tell(route, [fault], always=True)

    def up(self) -> None:
        for route in ("health", "otlp"):
            self._tell(route, (), always=True)

    def _tell(self, route: str, faults: Any, *, always: bool) -> None:
        told = {"route": route, "always": always, "faults": [asdict(fault) for fault in faults]}
        request = urllib.request.Request(f"{self.url}/fake/script", json.dumps(told).encode())
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request, timeout=60).read()

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            got: bytes = answer.read()
            return got


@contextmanager
def sink_process(*under: str) -> Iterator[Sink]:
    """Run one on a free port; `under` are words before its command, as `taskset -c 1`."""
    command = [*under, sys.executable, "-m", "tests.e2e.sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Sink(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()


async def serve(port: int) -> None:
    async with CountingLangfuse().running(port) as fake:
        print(fake.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.sink", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 is any free one")
    asyncio.run(serve(parser.parse_args().port))
