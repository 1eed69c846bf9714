"""The proofs at the size that the promise is made for: an hour or so each, by hand.

How to run them smaller, or in sittings, is in the help of each: `python -m tests.proofs.kills --help`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.timeout(4 * 3600)]


def shown(proof: str, *options: str) -> bool:
    return subprocess.run([sys.executable, "-m", f"tests.proofs.{proof}", *options], cwd=ROOT).returncode == 0


def test_a_thousand_kills_lose_nothing(tmp_path: Path) -> None:
    assert shown("kills", "--kills", "1000", "--state", str(tmp_path / "kills.json"))


def test_hours_without_langfuse_cost_disk_and_nothing_else() -> None:
    assert shown("outage")


def test_five_times_the_maximum_under_a_limit_on_memory() -> None:
    assert shown("overload", "--seconds", "600")


def test_hours_of_faults_and_kills_lose_nothing() -> None:
    assert shown("soak", "--minutes", "120")
