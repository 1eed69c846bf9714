"""The bridge as its users have it: a process of its own, on ports and files of its own, that can be killed."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.e2e.load import Counts, numbered

PLAN = """\
receivers:
  otlp: {{grpc: "127.0.0.1:{grpc}", http: "127.0.0.1:{http}"}}
exporters:
  store: {{max_bytes: 64GiB}}
  langfuse: {{base_url: "{langfuse}", public_key: pk-lf-fake, secret_key: sk-lf-fake, timeout: 5s}}
extensions:
  viewer: {{endpoint: "127.0.0.1:{viewer}"}}
service:
  data_dir: {data_dir}
  journal: {{max_bytes: {max_bytes}}}
  assemble: {{grace: {grace}, idle: {idle}}}
  pipelines:
    main: {{receivers: [otlp], exporters: [store, langfuse]}}
"""


def free_port() -> int:
    """A port that stays free until it is bound, and while the bridge restarts.

    It is below those that the system gives to whoever asks for any, and each of pytest's workers has its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(10_000 + worker, 32_768, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    while True:
        port = secrets.choice(ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(slots=True, frozen=True)
class Vitals:
    """What the system says of a process."""

    rss_mib: float
    cpu_s: float
    fds: int

    @classmethod
    def of(cls, pid: int) -> "Vitals":
        """As they are now.

        Raises:
            OSError: there is no such process (any more).
        """
        proc = Path(f"/proc/{pid}")
        used = (proc / "stat").read_text().rpartition(")")[2].split()
        pages = int((proc / "statm").read_text().split()[1])
        return cls(
            rss_mib=pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20),
            cpu_s=(int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK"),
            fds=len(list((proc / "fd").iterdir())),
        )


@dataclass
class BridgeProcess:
    """`otel-bridge serve` under a plan; the ports stay the same over restarts, as agents need them to.

    data: where its data dir is, beside its plan unless said otherwise.
    under: words before the command, as `taskset -c 0` or `strace -D -f …`.
    """

    folder: Path
    langfuse: str
    grace: str = "300ms"
    idle: str = "2s"
    max_bytes: str = "8GiB"
    plan: str = PLAN
    data: Path | None = None
    under: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    grpc: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    viewer: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data_dir(self) -> Path:
        return self.data or self.folder / "data"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def log(self) -> str:
        return (self.folder / "bridge.log").read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Of the bridge itself, once it is up."""
        return int(json.loads((self.data_dir / "bridge.json").read_text())["pid"])

    @property
    def vitals(self) -> Vitals:
        return Vitals.of(self.pid)

    @property
    def journal_mib(self) -> float:
        """What the journal takes on disk."""
        return sum(file.stat().st_size for file in (self.data_dir / "journal").iterdir()) / (1 << 20)

    def start(self, wait_s: float = 60, *, log_to_nobody: bool = False) -> None:
        """Start it and return when it has said that it is up; nobody reads what it says if `log_to_nobody`."""
        self.spawn(log_to_nobody=log_to_nobody)
        assert self.process is not None
        until = time.monotonic() + wait_s
        while not (self.data_dir / "bridge.json").exists():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < until, f"not up after {wait_s} s\n{self.log}"
            time.sleep(0.02)

    def spawn(self, *, log_to_nobody: bool = False) -> None:
        """Start it and do not wait."""
        plan = self.folder / "bridge.yaml"
        plan.write_text(self.plan.format(**{**vars(self), "data_dir": self.data_dir}))
        (self.data_dir / "bridge.json").unlink(missing_ok=True)
        with (self.folder / "bridge.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.under, sys.executable, "-m", "otel_bridge", "serve", "--config", str(plan)],
                stdout=log,
                stderr=subprocess.PIPE if log_to_nobody else log,
                env={**os.environ, "NO_COLOR": "1", **self.environ},
            )
        if self.process.stderr is not None:
            self.process.stderr.close()

    def kill(self) -> None:
        """As the out-of-memory killer does it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> tuple[int, float]:
        """SIGTERM; returns the exit code and how many seconds it took."""
        assert self.process is not None
        began = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        code = self.process.wait(60)
        return code, time.monotonic() - began

    def rss_mib(self) -> float:
        """Resident memory of the running process."""
        return self.vitals.rss_mib

    def ask(self, *words: str) -> str:
        """What a command prints about this bridge's data."""
        done = subprocess.run(
            [sys.executable, "-m", "otel_bridge", *words, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def audit(self) -> list[dict[str, object]]:
        """The accounts, which must balance."""
        said = json.loads(self.ask("audit", "--json"))
        assert said["balanced"] is True, said
        accounts: list[dict[str, object]] = said["accounts"]
        return accounts

    def stored(self, sender: int) -> bytes:
        """How often each span of a sender stands in the local store, as `tests.e2e.load` numbers them."""
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        store = apsw.Connection(f"file:{self.data_dir}/store.db?mode=ro", flags)
        counts = Counts()
        edges = (f"{sender:016x}", f"{sender + 1:016x}")  # trace ids begin with the sender
        for (text,) in store.execute("SELECT id FROM spans WHERE trace_id >= ? AND trace_id < ?", edges):
            counts.add(numbered(bytes.fromhex(text))[1])
        store.close()
        return bytes(counts.bytes)


def until_there(fake: FakeLangfuse, wanted: set[str], wait_s: float) -> set[str]:
    """Wait until the fake has these observations; returns what is missing when the time is up."""
    until = time.monotonic() + wait_s
    while (missing := wanted - fake.observations.keys()) and time.monotonic() < until:
        time.sleep(0.1)
    return missing
