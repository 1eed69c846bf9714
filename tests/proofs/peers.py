"""The same faults for the bridge and for others: how much of what was acknowledged never arrives.

    python -m tests.proofs.peers                          # prints a table in Markdown
    python -m tests.proofs.peers --only bridge,sdk --down 10 --patience 20

The SDKs are there. The others are found where these put them, or by --rotel and --otelcol:

    python3 -m venv /tmp/otel-bridge-rotel && /tmp/otel-bridge-rotel/bin/pip install rotel==0.0.1a15
    go run go.opentelemetry.io/collector/cmd/builder@v0.165.0 --config tests/proofs/otelcol.yaml

For what receives OTLP, acknowledged is what was answered OK. For an SDK it is every span that was ended, and a kill is
that of the agent itself: what it has in its memory then, nobody behind it can save. A backend that is away answers 503.
"""

import argparse
import asyncio
import base64
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

from otel_bridge import __version__
from otel_bridge.testing.fake_langfuse import Fault as Answer
from tests.e2e.load import ACKED, BULK, Load
from tests.e2e.process import BridgeProcess, free_port
from tests.e2e.sink import Sink, sink_process
from tests.proofs.rig import arguments

ROTEL = "/tmp/otel-bridge-rotel/lib/python3*/site-packages/rotel/rotel-agent"
OTELCOL = "/tmp/otel-bridge-otelcol/otelcol"
OTLP = "/api/public/otel/v1/traces"
ON_DISK = "{storage: file_storage, queue_size: 100000, block_on_overflow: true}"
BASIC = "Basic " + base64.b64encode(b"pk-lf-fake:sk-lf-fake").decode()
AGENT = Path(__file__).with_name("sdk_agent.py")
AWAY = Answer(503, "away")  # what all of them promise to try again for
LONGEST_STOP_S = 60

COLLECTOR = """\
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}
processors:
  batch: {{}}
exporters:
  otlp_http:
    traces_endpoint: {traces}
    headers: {{Authorization: "{basic}"}}
    retry_on_failure: {{max_elapsed_time: {retry}}}
    sending_queue: {queue}
extensions:
  file_storage: {{directory: {folder}, fsync: true}}
service:
  telemetry: {{metrics: {{level: none}}}}
  extensions: [file_storage]
  pipelines:
    traces: {{receivers: [otlp], processors: {processors}, exporters: [otlp_http]}}
"""


class Peer(Protocol):
    """Something that is loaded, hit, and started again where it was."""

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def stop(self) -> object: ...
    def begin(self, sender: int, rate: float, seconds: float) -> None: ...
    def finish(self) -> Load:
        """Wait for the end of the load; returns what was acknowledged."""

    def close(self) -> None: ...


def terminate(process: subprocess.Popen[Any]) -> int:
    """SIGTERM, and SIGKILL for what will not end, as supervisors do."""
    process.terminate()
    try:
        return process.wait(LONGEST_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class Program:
    """Somebody's program that receives OTLP; killed and started with the same command."""

    def __init__(self, command: list[str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command, self._port = command, port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            assert self._process.poll() is None, f"{self._command} ended"
            assert time.monotonic() < until, f"{self._command} does not listen"
            time.sleep(0.05)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> object:
        assert self._process is not None
        return terminate(self._process)


class Receiving:
    """A bridge or a program, with OTLP coming in by HTTP."""

    def __init__(self, process: BridgeProcess | Program) -> None:
        self.start, self.kill, self.stop, self.close = process.start, process.kill, process.stop, process.kill
        self._url = process.url
        self._load = Load(self._url)
        self._sending = threading.Thread()

    def begin(self, sender: int, rate: float, seconds: float) -> None:
        self._load = Load(self._url, shape=BULK, bodies=("mid",), sender=sender)
        self._sending = threading.Thread(target=lambda: asyncio.run(self._load.run_at(rate, seconds)))
        self._sending.start()

    def finish(self) -> Load:
        self._sending.join()
        return self._load


class Agent:
    """An SDK in a program of its own, with nothing between it and its destination."""

    def __init__(self, kind: str, environ: Mapping[str, str]) -> None:
        self._kind = kind
        self._environ = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "LANGFUSE_"))}
        self._environ |= environ
        self._process: subprocess.Popen[str] | None = None
        self._load = Load("")
        self._counting = threading.Thread()

    def start(self) -> None:
        """Nothing: what a killed agent had in memory is not there when another one starts."""

    def begin(self, sender: int, rate: float, seconds: float) -> None:
        command = [sys.executable, "-m", "tests.proofs.sdk_agent", self._kind, str(sender), str(rate), str(seconds)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self._environ
        )
        self._process, self._load = process, Load("", sender=sender)
        self._counting = threading.Thread(target=self._count, args=(process, self._load, int(rate * seconds)))
        self._counting.start()
        while not self._load.states and process.poll() is None:
            time.sleep(0.05)  # the import of an SDK is no load

    def _count(self, process: "subprocess.Popen[str]", load: Load, most: int) -> None:
        assert process.stdout is not None
        while len(load.states) < most and process.stdout.readline():
            load.states.append(ACKED)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> object:
        assert self._process is not None
        return terminate(self._process)

    def finish(self) -> Load:
        self._counting.join()
        return self._load

    def close(self) -> None:
        self.kill()


@dataclass(slots=True, frozen=True)
class Fault:
    """What is done to a peer under load.

    dead: Langfuse is away from before the load until after the blow.
    """

    name: str
    dead: bool = False
    blow: Literal["kill", "stop", "away"] = "kill"


FAULTS = (
    Fault("kill -9"),
    Fault("kill -9, backend away", dead=True),
    Fault("SIGTERM, backend away", dead=True, blow="stop"),
    Fault("backend away for a while", blow="away"),
)


@dataclass(slots=True, frozen=True)
class Entry:
    """A row of the table; `make` takes an empty folder and the Langfuse to deliver to."""

    label: str
    make: Callable[[Path, Sink], Peer]


def hit(entry: Entry, sink: Sink, fault: Fault, sender: int, given: argparse.Namespace) -> str:
    """How much of what was acknowledged never came, in words."""
    with tempfile.TemporaryDirectory() as folder, closing(entry.make(Path(folder), sink)) as peer:
        peer.start()
        load = strike(peer, sink, fault, sender, given)
        missing = len(sink.until_there(load, given.patience))
    assert load.acked_count, f"{entry.label} acknowledged nothing"
    return f"{missing or 'none'} of {load.acked_count} lost"


def strike(peer: Peer, sink: Sink, fault: Fault, sender: int, given: argparse.Namespace) -> Load:
    """Under load; Langfuse is there again when this returns what was acknowledged."""
    lasts_s = given.down if fault.blow == "away" else given.seconds / 2
    if fault.dead:
        sink.down(AWAY)
    peer.begin(sender, given.rate, lasts_s + given.seconds / 2)
    time.sleep(given.seconds / 4)
    if fault.blow == "away":
        sink.down(AWAY)
        time.sleep(given.down)
        sink.up()
    else:
        time.sleep(given.seconds / 4)
        (peer.kill if fault.blow == "kill" else peer.stop)()
        sink.up()
        peer.start()
    return peer.finish()


def entries(rotel: str, otelcol: str) -> dict[str, Entry]:
    """Who can be asked on this machine; says who can not, and why."""
    said = {
        "bridge": Entry(f"otel-bridge {__version__}", lambda folder, sink: Receiving(BridgeProcess(folder, sink.url))),
        "sdk": Entry(f"OpenTelemetry SDK {version('opentelemetry-sdk')}, BatchSpanProcessor, OTLP/HTTP", stock_sdk),
        "sdk-bridge": Entry("the same SDK, otel-bridge behind it", SdkWithBridge),
        "langfuse-sdk": Entry(f"Langfuse SDK {version('langfuse')}", langfuse_sdk),
    }
    programs = sorted(str(path) for path in Path("/").glob(rotel.lstrip("/")))
    if programs:
        told = subprocess.run([programs[0], "--version"], capture_output=True, text=True, check=True).stdout.strip()
        said["rotel"] = Entry(told, lambda _, sink: run_rotel(programs[0], sink))
    else:
        print(f"no rotel at {rotel}: see --help for how to install it", file=sys.stderr)
    if Path(otelcol).exists():
        told = subprocess.run([otelcol, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        said["otelcol"] = Entry(
            f"{told}, batch processor, queue in memory",
            lambda folder, sink: run_otelcol(otelcol, folder, sink, processors="[batch]", queue="{}", retry="300s"),
        )
        said["otelcol-disk"] = Entry(
            f"{told}, queue on disk with fsync",
            lambda folder, sink: run_otelcol(otelcol, folder, sink, processors="[]", queue=ON_DISK, retry="0s"),
        )
    else:
        print(f"no Collector at {otelcol}: see --help for how to build it", file=sys.stderr)
    return said


def run_rotel(program: str, sink: Sink) -> Peer:
    http, grpc = free_port(), free_port()
    command = [
        program,
        "start",
        "--otlp-http-endpoint",
        f"127.0.0.1:{http}",
        "--otlp-grpc-endpoint",
        f"127.0.0.1:{grpc}",
    ]
    command += ["--exporter", "otlp", "--otlp-exporter-protocol", "http"]
    command += ["--otlp-exporter-endpoint", sink.url + OTLP.removesuffix("/v1/traces")]
    command += ["--otlp-exporter-custom-headers", f"Authorization={BASIC}"]
    return Receiving(Program(command, http))


def run_otelcol(program: str, folder: Path, sink: Sink, *, processors: str, queue: str, retry: str) -> Peer:
    port, config = free_port(), folder / "config.yaml"
    traces = f"{sink.url}{OTLP}"
    named = {"processors": processors, "queue": queue, "retry": retry, "basic": BASIC, "folder": folder}
    config.write_text(COLLECTOR.format(port=port, traces=traces, **named))
    return Receiving(Program([program, "--config", str(config)], port))


def stock_sdk(_: Path, sink: Sink) -> Peer:
    headers = f"Authorization={BASIC.replace(' ', '%20')}"
    traces = f"{sink.url}{OTLP}"
    return Agent("otel", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": traces, "OTEL_EXPORTER_OTLP_HEADERS": headers})


def langfuse_sdk(_: Path, sink: Sink) -> Peer:
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-fake", "LANGFUSE_SECRET_KEY": "sk-lf-fake"}
    return Agent("langfuse", {**keys, "LANGFUSE_BASE_URL": sink.url})


class SdkWithBridge(Agent):
    """The agent is hit; the bridge stays up."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        self._bridge = BridgeProcess(folder, sink.url)
        super().__init__("otel", {"OTEL_EXPORTER_OTLP_ENDPOINT": self._bridge.url})

    def start(self) -> None:
        if self._bridge.process is None:
            self._bridge.start()

    def close(self) -> None:
        super().close()
        self._bridge.kill()


def main() -> None:
    parser = arguments("peers", __doc__)
    parser.add_argument("--only", help="names of rows, with commas")
    parser.add_argument("--rate", type=float, default=200, help="spans a second")
    parser.add_argument("--seconds", type=float, default=20, help="of load around a fault")
    parser.add_argument("--down", type=float, default=60, help="seconds for which the backend is away")
    parser.add_argument("--patience", type=float, default=90, help="seconds without news after which spans are lost")
    parser.add_argument("--rotel", default=ROTEL)
    parser.add_argument("--otelcol", default=OTELCOL)
    given = parser.parse_args()
    found = entries(given.rotel, given.otelcol)
    names = given.only.split(",") if given.only else list(found)
    print(f"| | {' | '.join(fault.name for fault in FAULTS)} |")
    print("|---" * (len(FAULTS) + 1) + "|")
    senders = itertools.count(1)
    with sink_process() as sink:
        for name in names:
            cells = [hit(found[name], sink, fault, next(senders), given) for fault in FAULTS]
            print(f"| {found[name].label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
