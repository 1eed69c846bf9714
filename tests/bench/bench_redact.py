"""What redaction costs: MB of OTLP and of texts a second, beside the same patterns in Python's own `re`.

python tests/bench/bench_redact.py [folder of payloads]
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from otel_bridge.batch import Batch
from otel_bridge.otlp_files import read_batches
from otel_bridge.processors.redact import RedactConfig, Redactor
from otel_bridge.processors.redact.rules import PACKS
from otel_bridge.processors.redact.texts import Texts

CORPUS = Path(__file__).parents[1] / "corpus"
ROUNDS = 5
PROMPT = (
    "You are a travel agent. The customer wants to go from Bonn to Lisbon on 2026-12-03, for two people, and has asked "
    "for vegetarian meals; last year they booked trip 20251107-113 for 1,234.50 EUR. Compare three offers. "
)
TEXTS = [PROMPT * 20, '{"messages": [{"role": "user", "content": "' + PROMPT * 10 + '"}]}', "chat gpt-4o", PROMPT]
WITH_SECRET = [f"{text} ada@example.org, key AKIAABCDEFGHIJKLMNOP" for text in TEXTS]


def rate(size: int, work: Callable[[], object]) -> float:
    """MB a second of one thread, the best of several rounds."""
    took = []
    for _ in range(ROUNDS):
        begun = time.thread_time()
        work()
        took.append(time.thread_time() - begun)
    return size / min(took) / 1e6


def main(corpus: Path) -> None:
    redactor = Redactor(RedactConfig(packs=("secrets", "pii")))
    rules = [rule for pack in PACKS.values() for rule in pack]
    own = [re.compile(rule.pattern.replace(rb"\z", rb"\Z")) for rule in rules]

    def with_re(texts: list[str]) -> None:
        for text in texts:
            raw = text.encode()
            for pattern in own:
                raw = pattern.sub(b"*", raw)

    def ours(texts: list[str]) -> None:
        for text in texts:
            Texts(redactor.ready, b"").text(text)

    for name, texts in (("prompts without a secret", TEXTS * 20), ("with two", WITH_SECRET * 20)):
        size = sum(len(text.encode()) for text in texts)
        here, there = rate(size, lambda: ours(texts)), rate(size, lambda: with_re(texts))  # noqa: B023 - called here
        print(f"{name:<26}{here:>8.1f} MB/s, re {there:>6.2f} MB/s: {here / there:>6.1f} x")

    batches = [
        (batch.signal, batch.wire) for path in sorted(corpus.rglob("*.pb")) for batch in read_batches(path, rejected=[])
    ]
    size = sum(len(wire) for _, wire in batches)

    def requests() -> None:
        for signal, wire in batches:
            redactor.redacted(Batch.from_wire(signal, wire), b"", Counter())

    print(f"{'recorded requests':<26}{rate(size, requests):>8.1f} MB/s of OTLP, {len(batches)} requests")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS)
