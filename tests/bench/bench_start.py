"""What telemetry adds to the start of a program: CPU seconds of one that imports something, and ends.

    python tests/bench/bench_start.py [--rounds 3]

Programs that import one library: by themselves, with `install()`, under `opentelemetry-instrument` with the
instrumentation of that library alone, and with all that are installed.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.sdk.sink import sink

LIBRARIES = {"": "", "httpx": "httpx", "fastapi": "fastapi", "openai": "openai"}
"""The name of each one's instrumentation."""
INSTRUMENT = [str(Path(sys.executable).with_name("opentelemetry-instrument"))]


def cpu_s(before: list[str], code: str, environ: Mapping[str, str]) -> float:
    """Of a program from its first process to its end.

    Raises:
        SystemExit: it failed.
    """
    process = subprocess.Popen([*before, sys.executable, "-c", code], env=environ)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{code!r} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def main(rounds: int) -> None:
    every = {found.name for found in entry_points(group="opentelemetry_instrumentor")}
    with sink() as bridge:
        kept = {key: said for key, said in os.environ.items() if not key.startswith("OTEL_")}
        environ = {**kept, "OTEL_EXPORTER_OTLP_ENDPOINT": bridge.url}
        headings = ("by itself", "install()", "its instrumentation", "all of them")
        print(f"{'CPU s, median of ' + str(rounds):<24}" + "".join(f"{heading:>22}" for heading in headings))
        for library, needed in LIBRARIES.items():
            code = f"import {library}" if library else "pass"
            installs = f"from otel_bridge.sdk import install; install(); {code}"
            alone = environ | {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(sorted(every - {needed}))}
            ways = (([], code, environ), ([], installs, alone), (INSTRUMENT, code, alone), (INSTRUMENT, code, environ))
            took = [statistics.median(cpu_s(*way) for _ in range(rounds)) for way in ways]
            print(f"  {library or 'nothing':<22}" + "".join(f"{found:>22.2f}" for found in took), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args().rounds)
