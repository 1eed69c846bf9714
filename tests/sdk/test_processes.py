"""Programs of several processes: what ended in any of them arrives, and arrives once."""

import http.client
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import free_port
from tests.sdk.sink import Sink, sink
from tests.sdk.test_install import environment

pytestmark = pytest.mark.slow

LATER = {"OTEL_BSP_SCHEDULE_DELAY": "60000"}  # so all of it is sent at the end
WEB = """
from otel_bridge.sdk import install, span
install(service="web")

def wsgi(environ, start_response):
    with span("request " + environ["QUERY_STRING"]):
        start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

async def asgi(scope, receive, send):
    async with span("request " + scope["query_string"].decode()):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
"""
WORKERS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from otel_bridge.sdk import install, span
install(service="workers")

def work(number):
    with span(f"work {number}"):
        pass

if __name__ == "__main__":
    start = multiprocessing.get_context(METHOD)
    with span("main"):
        processes = [start.Process(target=work, args=(number,)) for number in range(2)]
        [process.start() for process in processes], [process.join() for process in processes]
        with ProcessPoolExecutor(1, mp_context=start) as pool:
            list(pool.map(work, (2, 3)))
"""


@pytest.fixture
def arrived() -> Iterator[Sink]:
    with sink() as found:
        yield found


@pytest.mark.parametrize(
    ("app", "options"),
    [("wsgi", ["--preload"]), ("wsgi", []), ("asgi", ["--worker-class", "asgi", "--preload"])],
    ids=["sync", "sync, loaded by each", "asgi"],
)
def test_gunicorn(arrived: Sink, tmp_path: Path, app: str, options: list[str]) -> None:
    """Its workers are forked from a master that has it all set up, or set it up themselves."""
    (tmp_path / "web.py").write_text(WEB)
    port = free_port()
    command = ["-m", "gunicorn", f"web:{app}", "-w", "2", "-b", f"127.0.0.1:{port}", "--no-control-socket", *options]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, env=environment(arrived.url, **LATER), text=True, **pipes
    ) as master:
        assert master.stderr is not None
        up = 0
        while up < 2:
            line = master.stderr.readline()
            assert line, "it ended"
            up += "Booting worker" in line
        for number in range(12):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            client.request("GET", f"/?{number}")
            assert client.getresponse().read() == b"ok"
            client.close()
        master.send_signal(signal.SIGTERM)
        _, said = master.communicate(timeout=60)
    assert master.returncode == 0, said
    assert arrived.names == sorted(f"request {number}" for number in range(12)), said


@pytest.mark.parametrize(
    ("method", "installs"),
    [("fork", "the program"), ("spawn", "the program"), ("forkserver", "the program"), ("fork", "each process")],
)
def test_processes_of_multiprocessing(arrived: Sink, tmp_path: Path, method: str, installs: str) -> None:
    program = tmp_path / "workers.py"
    code = WORKERS.replace("METHOD", repr(method))
    if installs == "each process":
        line = 'install(service="workers")'
        code = code.replace(line, "").replace("    with span", f"    {line}\n    with span")
    program.write_text(code)
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environment(arrived.url, PYTHONWARNINGS="ignore::DeprecationWarning", **LATER),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert arrived.names == ["main", *(f"work {number}" for number in range(4))]
