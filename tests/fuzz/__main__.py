"""Fuzz one decoder, guided by coverage: `python -m tests.fuzz TARGET [--seconds 60]`.

What it has learnt is kept in .fuzz/TARGET, for the next run; an input that breaks a promise is written there too, and
`python -m tests.fuzz TARGET FILE` runs it again.
"""

import argparse
import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["otel_bridge"]):
    from tests.fuzz.targets import TARGETS

KEPT = Path(".fuzz")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("file", nargs="?", type=Path, help="run only this input")
    parser.add_argument("--seconds", type=int, default=60)
    asked = parser.parse_args()
    target = TARGETS[asked.target]
    if asked.file is not None:
        target.check(asked.file.read_bytes())
        return
    corpus = KEPT / asked.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    arguments = [
        sys.argv[0],
        f"-max_total_time={asked.seconds}",
        f"-artifact_prefix={corpus}-",
        "-max_len=65536",
        "-timeout=10",
        "-print_final_stats=1",
        str(corpus),
    ]

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if target.mutate is None or chance.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        return target.mutate(chance, data)[:max_size]

    atheris.Setup(arguments, target.check, custom_mutator=mutated if target.mutate else None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
