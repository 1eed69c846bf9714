"""One tenant floods the bridge with twenty times its quota: it is refused, and the others hardly feel it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.receivers.http1 import Client, spans

QUOTA = 2000  # spans a second
SPANS = 100  # in a request
REQUEST = spans(*(f"chat {number}" for number in range(SPANS))).SerializeToString()
OTHERS, EACH_PER_S, SECONDS = 4, 25, 10.0

CONFIG = """\
receivers:
  otlp: {{grpc: null, http: "127.0.0.1:0"}}
exporters:
  file: {{path: {folder}/out.jsonl}}
service:
  data_dir: {folder}/data
  tenants:
    flood: {{keys: [flood-key-0123456789], max_items_per_s: {quota}}}
    other: {{keys: [other-key-0123456789]}}
  pipelines:
    main: {{receivers: [otlp], exporters: [file]}}
"""
FLOOD = """
import asyncio, sys
from tests.e2e.test_quotas import QUOTA, SPANS, send_all
address, seconds = (sys.argv[1], int(sys.argv[2])), float(sys.argv[3])
flood = lambda seconds: send_all(address, "flood-key-0123456789", 20 * QUOTA / SPANS / 8, 8, seconds)
asyncio.run(flood(1))
print("at its rate", flush=True)
took, answers = asyncio.run(flood(seconds))
print(answers.count(200), answers.count(429), len(answers))
"""


async def send_all(
    address: tuple[str, int], key: str, per_s: float, senders: int, seconds: float
) -> tuple[list[float], list[int]]:
    """So many requests a second by each of some senders, whatever the answers: how long each took, and what it was."""
    took: list[float] = []
    answers: list[int] = []

    async def sender(number: int) -> None:
        client: Client | None = None
        at_s = time.perf_counter() + number / senders / per_s
        until_s = at_s + seconds
        while time.perf_counter() < until_s:
            await asyncio.sleep(max(0.0, at_s - time.perf_counter()))
            began_s = time.perf_counter()
            if client is None:
                client = await Client(address).__aenter__()
            try:
                answers.append((answer := await client.post(REQUEST, authorization=f"Bearer {key}")).status)
                gone = answer.headers.get("connection") == "close"
            except (ConnectionError, asyncio.IncompleteReadError):
                answers.append(0)
                gone = True
            took.append(time.perf_counter() - began_s)
            if gone:
                await client.__aexit__()
                client = None
            at_s += 1 / per_s
        if client is not None:
            await client.__aexit__()

    await asyncio.gather(*(sender(number) for number in range(senders)))
    return took, answers


@contextmanager
def bridge(folder: Path) -> Iterator[tuple[str, int]]:
    config = folder / "bridge.yaml"
    config.write_text(CONFIG.format(folder=folder, quota=QUOTA))
    words = [sys.executable, "-m", "otel_bridge", "serve", "--json", "--config", str(config)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            said: dict[str, Any] = json.loads(process.stdout.readline())
            host, _, port = said["endpoints"]["otlp"]["http"].removeprefix("http://").rpartition(":")
            yield host, int(port)
        finally:
            process.kill()


def p99_ms(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)] * 1000


@pytest.mark.long
async def test_who_floods_is_refused_and_the_others_hardly_feel_it(tmp_path: Path) -> None:
    with bridge(tmp_path) as address:
        await send_all(address, "other-key-0123456789", EACH_PER_S, OTHERS, 2.0)  # warm
        alone, answers = await send_all(address, "other-key-0123456789", EACH_PER_S, OTHERS, SECONDS)
        assert set(answers) == {200}
        words = [sys.executable, "-c", FLOOD, address[0], str(address[1]), str(SECONDS + 2)]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        flood = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, env=environ)
        assert flood.stdout is not None
        assert await flood.stdout.readline() == b"at its rate\n"
        beside, answers = await send_all(address, "other-key-0123456789", EACH_PER_S, OTHERS, SECONDS)
        out, _ = await flood.communicate()
        taken, refused, sent = (int(number) for number in out.split())

    ratio = p99_ms(beside) / p99_ms(alone)
    print(
        f"\nthe flood sent {sent * SPANS / (SECONDS + 2):.0f} spans/s, {QUOTA} are its quota; taken "
        f"{taken * SPANS / (SECONDS + 2):.0f}/s, {refused} of {sent} requests refused; p99 of the others "
        f"{p99_ms(alone):.1f} ms alone, {p99_ms(beside):.1f} ms beside it: {ratio:.2f} times"
    )
    assert set(answers) == {200}
    assert refused > 0.8 * sent
    assert taken * SPANS <= QUOTA * (SECONDS + 2 + 2)
    assert ratio < 2
