"""Programs of several processes: what ended in any of them arrives, and arrives once."""

import http.client
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.process import free_port
from tests.sdk.programs import environment, finished
from tests.sdk.sink import Sink

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
    if METHOD == "fork":  # the others start slowly, and end as it does
        with start.Pool(1) as pool:  # which ends its workers by SIGTERM while they end by themselves
            pool.map(work, (4, 5))
"""


UVICORNS = ["--worker-class", "uvicorn.workers.UvicornWorker"]


@pytest.mark.parametrize(
    ("app", "options"),
    [
        ("wsgi", ["--preload"]),
        ("wsgi", []),
        ("asgi", ["--worker-class", "asgi", "--preload"]),
        ("asgi", [*UVICORNS, "--preload"]),
    ],
    ids=["sync", "sync, loaded by each", "asgi", "uvicorn's"],
)
def test_gunicorn(arrived: Sink, tmp_path: Path, app: str, options: list[str]) -> None:
    """Its workers are forked from a master that has it all set up, or set it up themselves."""
    command = ["gunicorn", f"web:{app}", "-w", "2", "-b", "127.0.0.1:PORT", "--no-control-socket", *options]
    code, said = serve(command, "Booting worker", arrived, tmp_path)
    assert code == 0, said
    assert arrived.names == REQUESTS, said


def test_workers_of_uvicorn(arrived: Sink, tmp_path: Path) -> None:
    """They load the program when SIGTERM is theirs already, and raise it again when they have served all."""
    patient = ["--timeout-worker-healthcheck", "60"]
    command = ["uvicorn", "web:asgi", "--workers", "2", "--port", "PORT", "--lifespan", "off", *patient]
    code, said = serve(command, "Started server process", arrived, tmp_path)
    assert code == 0, said
    assert arrived.names == REQUESTS, said


REQUESTS = sorted(f"request {number}" for number in range(12))


def serve(command: list[str], starts: str, arrived: Sink, folder: Path) -> tuple[int, str]:
    """Have a server of two processes answer some requests, and end it: its exit code, and what it said.

    starts: what it says of each process.
    """
    (folder / "web.py").write_text(WEB)
    port = free_port()
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-m", *(word.replace("PORT", str(port)) for word in command)],
        cwd=folder,
        env=environment(arrived.url, **LATER),
        text=True,
        **pipes,
    ) as master:
        assert master.stderr is not None
        up = 0
        while up < 2:
            line = master.stderr.readline()
            assert line, "it ended"
            up += starts in line
        for number in range(12):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            client.request("GET", f"/?{number}")
            assert client.getresponse().read() == b"ok"
            client.close()
        master.send_signal(signal.SIGTERM)
        _, said = master.communicate(timeout=60)
    return master.returncode, said


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
    more = LATER | {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
    done = finished(sys.executable, str(program), url=arrived.url, **more)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert arrived.names == ["main", *(f"work {number}" for number in range(6 if method == "fork" else 4))]
