"""Who may never import whom: the contracts hold, and a planted breach is found."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

BREACHES = {
    "translate/__init__.py": "import langfuse",
    "journal/__init__.py": "from otel_bridge import plan",
    "delivery/__init__.py": "from otel_bridge.exporters import store",
    "viewer/__init__.py": "import grpc",
    "errors.py": "from otel_bridge import batch",
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "otel_bridge", tmp_path / "otel_bridge", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=where, capture_output=True, text=True)


@pytest.mark.slow
def test_the_contracts_hold(copy: Path) -> None:
    result = lint(copy)

    assert result.returncode == 0, result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("where", BREACHES)
def test_a_planted_breach_is_found(copy: Path, where: str) -> None:
    planted = copy / "otel_bridge" / where
    planted.write_text(f"{planted.read_text()}\n{BREACHES[where]}\n")

    result = lint(copy)

    assert result.returncode == 1
    assert "BROKEN" in result.stdout


def layers() -> list[list[str]]:
    """Of the contract, from above; what is optional counts too."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [stacked] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [[part.strip(" ()").removeprefix("otel_bridge.") for part in re.split("[:|]", layer)] for layer in stacked]


def test_every_file_has_its_place_in_a_layer() -> None:
    there = {
        path.stem
        for path in (ROOT / "otel_bridge").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }

    assert there - {"__init__"} == {name for layer in layers() for name in layer}


def test_the_page_has_the_layers_of_the_contract() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    [line] = re.findall(r"^- One direction.*?`(.*?)`", page, re.MULTILINE)

    assert [re.split(r", | \| ", layer) for layer in line.split(" > ")] == layers()
