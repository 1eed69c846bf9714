"""One bridge for all examples, with its store and two Langfuse projects, and a language model on loopback."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.e2e.process import BridgeProcess, free_port
from tests.examples.fake_llm import llm

EXAMPLES = Path(__file__).parents[2] / "examples"
WAIT_S = 30.0  # for what takes a second on a machine with nothing else to do
PLAN = """\
receivers:
  otlp: {{grpc: "127.0.0.1:{grpc}", http: "127.0.0.1:{http}"}}
exporters:
  store: {{}}
  langfuse/product: {{base_url: "{langfuse}", public_key: pk-lf-fake, secret_key: sk-lf-fake}}
  langfuse/quality: {{base_url: "{quality}", public_key: pk-lf-fake, secret_key: sk-lf-fake}}
extensions:
  viewer: {{endpoint: "127.0.0.1:{viewer}"}}
service:
  data_dir: {data_dir}
  assemble: {{grace: 300ms, remote_grace: 300ms, idle: 2s}}
  pipelines:
    main: {{receivers: [otlp], exporters: [store, langfuse/product, langfuse/quality]}}
"""


@dataclass(slots=True, frozen=True)
class Seen:
    """A trace as the store has it."""

    said: Mapping[str, Any]

    @property
    def observations(self) -> list[dict[str, Any]]:
        return list(self.said["observations"])

    @property
    def tree(self) -> list[str]:
        """Types and names in their order, indented, those at the same time by their names."""
        rows: list[tuple[str, ...]] = []
        path: list[str] = []
        for found in self.observations:
            path[found["depth"] :] = [f"{found['type']} {found['name']}"]
            rows.append(tuple(path))
        return [f"{'  ' * (len(row) - 1)}{row[-1]}" for row in sorted(rows)]

    def __getitem__(self, name: str) -> dict[str, Any]:
        [found] = [each for each in self.observations if each["name"] == name]
        return found


@dataclass(slots=True)
class Bench:
    """Runs examples as a user does, and looks into the store."""

    bridge: BridgeProcess
    folder: Path
    llm: str
    projects: tuple[FakeLangfuse, FakeLangfuse]

    def environ(self, **more: str) -> dict[str, str]:
        kept = {key: said for key, said in os.environ.items() if not key.startswith(("OTEL_", "LANGFUSE_"))}
        sends = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.bridge.url, "OTEL_BRIDGE_EXIT_SECONDS": "20"}
        model = {"OPENAI_BASE_URL": self.llm, "OPENAI_API_KEY": "key-to-nothing"}
        found = {"OTEL_BRIDGE_CONFIG": str(self.bridge.folder / "bridge.yaml")}
        # What other tests need is installed here too, and would tell of all that a program does.
        less = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "httpx,httpx2,sqlalchemy,fastapi"}
        return {**kept, **sends, **model, **found, **less, **more}

    def start(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        """A program of Python, an example by its name, in an empty folder."""
        command = [sys.executable, *(str(EXAMPLES / word) if word.endswith(".py") else word for word in words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.environ(**more), cwd=self.folder, text=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def run(self, *words: str, **more: str) -> str:
        """What it printed."""
        process = self.start(*words, **more)
        said, wrong = process.communicate(timeout=100)
        assert process.returncode == 0, wrong
        return said

    def trace(self, question: str, count: int, *, after: Callable[["Seen"], bool] = lambda _seen: True) -> Seen:
        """The newest trace that a filter holds for, once it has so many observations, all understood."""
        until = time.monotonic() + WAIT_S
        while True:
            found = self.ask(f"/api/v1/traces?limit=1&filter={urllib.request.quote(question)}")["traces"]
            seen = Seen(self.ask(f"/api/v1/traces/{found[0]['id']}?full=true")) if found else None
            is_whole = seen and len(seen.observations) >= count and all(each["settled"] for each in seen.observations)
            if seen and is_whole and after(seen):
                return seen
            assert time.monotonic() < until, (seen.tree if seen else found, self.bridge.log)
            time.sleep(0.1)  # the viewer answers what is there, and has nothing to wait on

    def ask(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.bridge.viewer}{path}", timeout=30) as answer:
            return dict(json.load(answer))


def until(there: Callable[[], bool]) -> None:
    """Return when it is so; for what another process does and nobody tells of."""
    limit = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with FakeLangfuse().in_thread() as product, FakeLangfuse().in_thread() as quality, llm() as model:
        folder = tmp_path_factory.mktemp("bridge")
        bridge = BridgeProcess(folder, product.url, plan=PLAN.replace("{quality}", quality.url))
        bridge.start()
        try:
            yield Bench(bridge, folder, model, (product, quality))
        finally:
            bridge.stop()


@pytest.fixture
def bench(shared: Bench, tmp_path: Path) -> Bench:
    return Bench(shared.bridge, tmp_path, shared.llm, shared.projects)


@pytest.fixture
def streaming_api(bench: Bench) -> Iterator[int]:
    """The port of the streaming example, which serves until the test ends."""
    port = free_port()
    server = bench.start("streaming_api.py", PORT=str(port))
    assert server.stderr is not None
    try:
        while "Uvicorn running" not in (line := server.stderr.readline()):
            assert line, "it ended"
        yield port
    finally:
        server.terminate()
        server.communicate()
