"""The files around the code say what is so: compose file, container, make targets, links between documents."""

import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.core
import typer.main
from ruamel.yaml import YAML

from otel_bridge.cli.app import app
from otel_bridge.cli.demo import PROGRAM

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yaml")
    return loaded


def test_compose_starts_the_bridge_alone(compose: dict[str, Any]) -> None:
    """Everything else waits for its profile."""
    started = [name for name, service in compose["services"].items() if "profiles" not in service]

    assert started == ["bridge"]


def test_compose_publishes_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_names_only_what_it_has(compose: dict[str, Any]) -> None:
    """Volumes and dependencies exist; the bridge writes to its volume alone."""
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(compose["volumes"])
    assert services["bridge"]["read_only"] is True


def test_compose_runs_the_demo_against_its_bridge(compose: dict[str, Any]) -> None:
    """Once the image's own check has found that well; it sends to a port of the image."""
    demo, dockerfile = compose["services"]["demo"], (ROOT / "Dockerfile").read_text()
    where = urlsplit(demo["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"])

    assert (demo["build"], demo["image"]) == tuple(compose["services"]["bridge"][key] for key in ("build", "image"))
    assert demo["entrypoint"] == ["python", "-m", PROGRAM]
    assert demo["depends_on"] == {where.hostname: {"condition": "service_healthy"}}
    assert "HEALTHCHECK" in dockerfile
    assert f"OTEL_BRIDGE_HTTP=0.0.0.0:{where.port} " in dockerfile


def test_the_two_langfuse_services_agree(compose: dict[str, Any]) -> None:
    web, worker = (compose["services"][name]["environment"] for name in ("langfuse-web", "langfuse-worker"))

    assert worker.items() <= web.items()
    assert {"DATABASE_URL", "CLICKHOUSE_URL", "REDIS_HOST", "ENCRYPTION_KEY", "SALT"} <= set(worker)


def test_the_container_runs_as_nobody_and_checks_its_health() -> None:
    text = (ROOT / "Dockerfile").read_text()

    assert "USER 65532:65532" in text
    assert 'CMD ["otel-bridge", "healthcheck"]' in text


def test_documents_link_to_files_that_are_there() -> None:
    dead = [
        f"{document.name}: {target}"
        for document in DOCUMENTS
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
        if not target.startswith("http") and not (document.parent / target).exists()
    ]

    assert dead == []


@pytest.mark.parametrize("target", ["run", "test", "check", "bench"])
def test_make_knows_the_targets_that_the_readme_shows(target: str) -> None:
    assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0


def test_the_readme_names_every_command() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## The command line") : text.index("## The promise")]

    assert [name for name in group.commands if name not in table] == []
