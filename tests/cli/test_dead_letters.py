"""Dead letters on the command line, from the file where no bridge runs."""

import asyncio
from pathlib import Path

from typer.testing import CliRunner

from otel_bridge.cli.app import app
from otel_bridge.delivery.dead_letter import DeadLetter, open_dead_letters
from otel_bridge.telemetry import Counters


async def test_a_tenant_who_is_not_there_is_told_of_in_a_list_of_letters_that_is_empty(tmp_path: Path) -> None:
    """From the file, where no bridge runs; the configuration knows who is there, and so do the letters."""
    config = tmp_path / "bridge.yaml"
    await asyncio.to_thread(config.write_text, f"service: {{data_dir: {tmp_path}, tenants: {{acme: {{keys: [x]}}}}}}\n")
    async with open_dead_letters(tmp_path / "dead_letters.db", Counters()) as letters:
        await letters.add(DeadLetter("0" * 16, "main", "store", "gone", "traces", "refused", "no", 1, 1, b"x"))

    def listed(tenant: str) -> str:
        result = CliRunner().invoke(app, ["dead-letter", "list", "--tenant", tenant, "--config", str(config)])
        return str(result.exception or result.stdout)

    assert await asyncio.to_thread(listed, "acme") == "no dead letters\n"
    assert "store     gone" in await asyncio.to_thread(listed, "gone")
    assert await asyncio.to_thread(listed, "acne") == "there is no tenant 'acne', did you mean acme?"
