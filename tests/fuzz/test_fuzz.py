"""The fuzz targets hold for their seeds and some changes of them; for a minute of what a fuzzer finds, by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, changed

ROOT = Path(__file__).parents[2]
CHANGES = 40


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_changes_of_them(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert seeds
    for data in (b"", *seeds):
        TARGETS[name].check(data)
    for number in range(CHANGES):
        try:
            TARGETS[name].check(changed(name, number))
        except Exception as error:
            raise AssertionError(f"changed({name!r}, {number}) breaks it") from error


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.version_info >= (3, 14) or sys.platform != "linux", reason="atheris 3.0 has no build for it")
@pytest.mark.parametrize("name", TARGETS)
def test_a_minute_of_fuzzing(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, "--seconds", "60"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stderr[-3000:]
