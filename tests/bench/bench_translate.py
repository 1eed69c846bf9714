"""What translation costs: µs of one thread per span, over recorded payloads.

python tests/bench/bench_translate.py [folder of payloads, one folder for each emitter]
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from otel_bridge.batch import Batch, Signal
from otel_bridge.exporters.langfuse.otlp import encode
from otel_bridge.model import Translation
from otel_bridge.otlp_files import read_batches
from otel_bridge.trace import Trace
from otel_bridge.translate import to_json, traces_of, translate

CORPUS = Path(__file__).parents[1] / "corpus"
ROUNDS = 15


class Cost(NamedTuple):
    """µs for each span of one trace; each span is charged the same share of what its trace took."""

    spans: int
    per_span_us: float


def payloads(corpus: Path) -> dict[str, list[tuple[Signal, bytes]]]:
    """The requests of each emitter."""
    return {
        folder.name: [
            (batch.signal, batch.wire)
            for path in sorted(folder.iterdir())
            if path.name.endswith((".traces.pb", ".logs.pb", ".traces.json", ".logs.json"))
            for batch in read_batches(path, rejected=[])
        ]
        for folder in sorted(corpus.iterdir())
        if folder.is_dir()
    }


def fresh(requests: Iterable[tuple[Signal, bytes]]) -> list[Trace]:
    """Decoded anew: a message that was looked at before answers quicker the second time."""
    return traces_of(Batch.from_wire(signal, wire) for signal, wire in requests)


def measured(requests: Sequence[tuple[Signal, bytes]]) -> list[Cost]:
    """The cost of translating each trace, the least of several rounds: what comes on top is the machine's."""
    least: dict[str, float] = {}
    spans: dict[str, int] = {}
    for _ in range(ROUNDS):
        for trace in fresh(requests):
            begun = time.thread_time()
            translated = translate(trace)
            took = time.thread_time() - begun
            if count := len(translated.observations):
                spans[trace.key] = count
                least[trace.key] = min(least.get(trace.key, took), took)
    return [Cost(count, least[key] / count * 1e6) for key, count in spans.items()]


def stages(requests: Sequence[tuple[Signal, bytes]]) -> Iterator[tuple[str, float]]:
    """Seconds for all spans at once, the least of several rounds, stage by stage from bytes to bytes."""

    def least(work: Callable[[], object]) -> float:
        took = []
        for _ in range(ROUNDS):
            begun = time.thread_time()
            work()
            took.append(time.thread_time() - begun)
        return min(took)

    traces = fresh(requests)
    whole = Translation.merge([translate(trace) for trace in traces])
    yield "decode and gather", least(lambda: fresh(requests))
    yield "translate", least(lambda: [translate(trace) for trace in traces])
    yield "encode as OTLP for Langfuse", least(lambda: encode(whole).SerializeToString())
    yield "as JSON objects", least(lambda: to_json(whole))


def main(corpus: Path) -> None:
    requests = payloads(corpus)
    costs = {emitter: measured(said) for emitter, said in requests.items()}
    shares = [cost.per_span_us for found in costs.values() for cost in found for _ in range(cost.spans)]
    print(f"{'emitter':<34}{'spans':>7}{'median µs':>11}")
    for emitter, found in costs.items():
        if own := [cost.per_span_us for cost in found for _ in range(cost.spans)]:
            print(f"{emitter:<34}{len(own):>7}{median(own):>11.1f}")
    print(f"\n{len(shares)} spans: median {median(shares):.1f} µs, p99 {quantiles(shares, n=100)[98]:.1f} µs", end=", ")
    print(f"mean {sum(shares) / len(shares):.1f} µs a span")
    everything = [request for said in requests.values() for request in said]
    for stage, seconds in stages(everything):
        print(f"  {stage:<30}{seconds / len(shares) * 1e6:>7.1f} µs a span")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS)
