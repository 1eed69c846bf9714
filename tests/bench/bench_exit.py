"""What telemetry adds to the end of a program that knows nothing of it: ms from its last line until the prompt is back.

    python tests/bench/bench_exit.py [--rounds 5] [--check]

The examples with OpenAI, LangChain and Pydantic AI, with a model on loopback: by themselves, under
`opentelemetry-instrument`, and under `otel-bridge run` with a bridge that runs, or with one for as long as they do.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e.process import BridgeProcess
from tests.examples.fake_llm import llm

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "OpenAI": (["chat.py", "Lisbon or Oslo?", "And in May?"], {"openai"}),
    "LangChain": (["langchain_chat.py", "Lisbon"], {"openai", "langchain"}),
    "Pydantic AI": (["pydantic_agent.py", "What is the weather like in Lisbon?"], {"openai", "pydantic_ai"}),
}
"""Each with the instrumentations that it would have in an environment of its own."""
INSTRUMENT = [str(Path(sys.executable).with_name("opentelemetry-instrument"))]
RUN = [sys.executable, "-m", "otel_bridge", "run", "--"]
PLAN = """\
receivers:
  otlp: {{grpc: "127.0.0.1:{grpc}", http: "127.0.0.1:{http}"}}
exporters:
  store: {{}}
extensions:
  viewer: {{endpoint: "127.0.0.1:{viewer}"}}
service:
  data_dir: {data_dir}
  pipelines:
    main: {{receivers: [otlp], exporters: [store]}}
"""


def end_ms(before: list[str], program: list[str], environ: Mapping[str, str]) -> float:
    """From the last line of its output to its end.

    Raises:
        SystemExit: it failed.
    """
    command = [*before, sys.executable, str(ROOT / "examples" / program[0]), *program[1:]]
    last_s = time.perf_counter()
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _line in process.stdout:
            last_s = time.perf_counter()
        process.wait()
        took_ms = (time.perf_counter() - last_s) * 1000
        assert process.stderr is not None
        if process.returncode:
            sys.exit(f"{command} ended with {process.returncode}: {process.stderr.read().decode()}")
    return took_ms


def main(rounds: int, *, check: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, llm() as model:
        bridge = BridgeProcess(Path(folder), "", plan=PLAN)
        bridge.start()
        kept = {key: said for key, said in os.environ.items() if not key.startswith(("OTEL_", "LANGFUSE_"))}
        alone = {**kept, "OPENAI_BASE_URL": model, "OPENAI_API_KEY": "key-to-nothing", "PYTHONUNBUFFERED": "1"}
        runs = {**alone, "OTEL_BRIDGE_CONFIG": str(bridge.folder / "bridge.yaml")}
        own = {**alone, "OTEL_BRIDGE_DATA_DIR": f"{folder}/own"}
        own |= {f"OTEL_BRIDGE_{name}": "127.0.0.1:0" for name in ("GRPC", "HTTP", "VIEWER")}
        ways: dict[str, tuple[list[str], dict[str, str]]] = {
            "by itself": ([], alone),
            "opentelemetry-instrument": (INSTRUMENT, {**alone, "OTEL_EXPORTER_OTLP_ENDPOINT": bridge.url}),
            "otel-bridge run": (RUN, runs),
            "run, own bridge": (RUN, own),
        }
        slower = False
        print(f"{'ms to the end, median of ' + str(rounds):<28}" + "".join(f"{way:>26}" for way in ways))
        try:
            every = {found.name for found in entry_points(group="opentelemetry_instrumentor")}
            for name, (program, needed) in PROGRAMS.items():
                less = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(every - needed)}
                took: dict[str, list[float]] = {way: [] for way in ways}
                for _ in range(rounds):
                    for way, (before, environ) in ways.items():
                        took[way].append(end_ms(before, program, environ | less))
                medians = {way: statistics.median(found) for way, found in took.items()}
                print(f"  {name:<26}" + "".join(f"{found:>26.0f}" for found in medians.values()), flush=True)
                slower |= max(medians.values()) > medians["by itself"]
        finally:
            bridge.stop()
        print("every end is as fast as without" if not slower else "an end is slower than without")
    sys.exit(check and slower)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="end with 1 where one is slower than without")
    asked = parser.parse_args()
    main(asked.rounds, check=asked.check)
