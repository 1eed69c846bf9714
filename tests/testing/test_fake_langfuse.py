"""The fake answers as the real server of each version was seen to."""

import base64
import gzip
import hashlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from yarl import URL

from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
OTLP = "/api/public/otel/v1/traces"


def request(ids: Iterable[bytes] = (b"\2" * 8,)) -> bytes:
    made = ExportTraceServiceRequest()
    scoped = made.resource_spans.add().scope_spans.add()
    for span_id in ids:
        scoped.spans.add(trace_id=b"\1" * 16, span_id=span_id, name="s", start_time_unix_nano=1, end_time_unix_nano=2)
    return made.SerializeToString()


def basic(fake: FakeLangfuse) -> dict[str, str]:
    keys = f"{fake.public_key}:{fake.secret_key}".encode()
    return {"Authorization": f"Basic {base64.b64encode(keys).decode()}"}


async def post(fake: FakeLangfuse, path: str, body: bytes | Any, headers: dict[str, str]) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(fake.url + path, data=data, headers=basic(fake) | headers) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text) if text.startswith(("{", "[")) else text


@pytest.mark.parametrize(
    ("version", "status"), [("2.95.12", 404), ("3.21.0", 404), ("3.22.0", 200), ("4.16.0", 200), ("4.61.0", 200)]
)
async def test_otlp_is_there_since_3_22(version: str, status: int) -> None:
    async with FakeLangfuse(version).running() as fake:
        assert (await post(fake, OTLP, request(), PROTOBUF))[0] == status


@pytest.mark.parametrize(
    ("body", "headers", "status", "stored"),
    [
        (request(), {"Content-Type": "application/protobuf"}, 400, 0),
        (request(), {"Content-Type": "application/x-protobuf; charset=utf-8"}, 200, 1),
        (gzip.compress(request()), PROTOBUF | {"Content-Encoding": "gzip"}, 200, 1),
        (request(), PROTOBUF | {"Content-Encoding": "gzip"}, 400, 0),
        (b"\x78\x9c junk", PROTOBUF | {"Content-Encoding": "deflate"}, 400, 0),
        (b"\xff\xff", PROTOBUF, 400, 0),
        (b"", PROTOBUF, 200, 0),
        ({"resource_spans": [{"scope_spans": [{"spans": [{"traceId": "a", "spanId": "b"}]}]}]}, JSON, 200, 0),
        ({}, JSON, 200, 0),
        ({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz", "spanId": "zz"}]}]}]}, JSON, 200, 1),
        ({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}, JSON, 400, 0),
        (request(), PROTOBUF | {"x-langfuse-ingestion-version": "5"}, 400, 0),
        (request(), PROTOBUF | {"x-langfuse-ingestion-version": "new"}, 400, 0),
    ],
)
async def test_what_the_otlp_route_takes(body: Any, headers: dict[str, str], status: int, stored: int) -> None:
    async with FakeLangfuse("4.16.0").running() as fake:
        assert (await post(fake, OTLP, body, headers))[0] == status
        assert len(fake.observations) == stored


async def test_one_bad_span_costs_the_whole_request_since_4_4_and_itself_before() -> None:
    body = request([b"\2" * 8, b"\3" * 7, b"\4" * 8])
    async with FakeLangfuse("4.16.0").running() as fake:
        assert (await post(fake, OTLP, body, PROTOBUF))[0] == 400
        assert fake.observations == {}
    async with FakeLangfuse("3.120.0").running() as fake:
        assert (await post(fake, OTLP, body, PROTOBUF))[0] == 200
        assert len(fake.observations) == 2


@pytest.mark.parametrize(
    ("authorization", "path", "status"),
    [
        ("Basic d3Jvbmc6d3Jvbmc=", OTLP, 401),
        ("", OTLP, 401),
        ("Bearer pk-lf-fake", OTLP, 403),
        ("Bearer pk-lf-fake", "/api/public/scores", 200),
    ],
)
async def test_keys(authorization: str, path: str, status: int) -> None:
    score = {"id": "1", "name": "n", "value": 1, "traceId": "t"}
    body = request() if path == OTLP else score
    async with FakeLangfuse("4.16.0").running() as fake:
        headers = {"Authorization": authorization} | (PROTOBUF if path == OTLP else JSON)
        assert (await post(fake, path, body, headers))[0] == status


SPAN = {"id": "e1", "type": "span-create", "timestamp": "", "body": {"id": "o1", "traceId": "t"}}
SCORE = {"id": "e2", "type": "score-create", "body": {"id": "s1", "name": "n", "value": 1, "traceId": "t"}}


@pytest.mark.parametrize(
    ("version", "mode", "taken"),
    [
        ("2.95.12", "events_only", ["e1", "e2"]),
        ("3.120.0", "events_only", ["e1", "e2"]),
        ("4.16.0", "events_only", ["e2"]),
        ("4.16.0", "dual", ["e1", "e2"]),
    ],
)
async def test_ingestion_answers_item_by_item(version: str, mode: Any, taken: list[str]) -> None:
    async with FakeLangfuse(version, mode=mode).running() as fake:
        status, answer = await post(fake, "/api/public/ingestion", {"batch": [SPAN, SCORE]}, JSON)
    assert status == 207
    assert [item["id"] for item in answer["successes"]] == taken
    assert all(item["status"] == 400 for item in answer["errors"])


@pytest.mark.parametrize(("version", "status"), [("4.16.0", 400), ("4.61.0", 207)])
async def test_lists_of_scores_are_taken_since_4_59(version: str, status: int) -> None:
    score = SCORE["body"]
    async with FakeLangfuse(version).running() as fake:
        assert (await post(fake, "/api/public/scores", [score, {"name": "n"}], JSON))[0] == status
        assert len(fake.scores) == (1 if status == 207 else 0)
        assert (await post(fake, "/api/public/scores", score, JSON))[0] == 200


async def test_it_says_what_it_is_told_and_then_is_itself_again() -> None:
    async with FakeLangfuse().running() as fake:
        fake.script("otlp", Fault(503, "busy"), Fault(504, stored=True))
        answers = [await post(fake, OTLP, request(), PROTOBUF) for _ in range(3)]
        assert [status for status, _ in answers] == [503, 504, 200]
        assert fake.duplicates == 1

        fake.always("otlp", Fault(does="disconnect"))
        for _ in range(2):
            with pytest.raises(aiohttp.ClientError):
                await post(fake, OTLP, request(), PROTOBUF)
        fake.always("otlp", None)
        assert (await post(fake, OTLP, request(), PROTOBUF))[0] == 200


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"faults": []}', "KeyError 'route'"),
        ('{"route": "traces"}', "no route 'traces': write {route: one of health, projects, otlp,"),
        ('{"route": "otlp", "faults": [{"code": 500}]}', "'code': write {"),
    ],
)
async def test_a_script_that_can_not_be_read_is_refused_with_what_it_should_be(script: str, said: str) -> None:
    async with FakeLangfuse().running() as fake, aiohttp.ClientSession() as session:
        async with session.post(f"{fake.url}/fake/script", data=script) as answer:
            assert answer.status == 400
            assert said in await answer.text()
        assert fake._scripts == {}


async def test_observations_can_be_read_back_from_server_4_only() -> None:
    for version, status in (("4.61.0", 200), ("3.120.0", 404)):
        async with FakeLangfuse(version).running() as fake, aiohttp.ClientSession(headers=basic(fake)) as session:
            await post(fake, OTLP, request(), PROTOBUF)
            async with session.get(f"{fake.url}/api/public/v2/observations?traceId={'01' * 16}") as response:
                assert response.status == status
                if status == 200:
                    assert [row["id"] for row in (await response.json())["data"]] == ["02" * 8]


async def test_media_is_there_once_its_upload_was_closed() -> None:
    digest = base64.b64encode(hashlib.sha256(b"png").digest()).decode()
    asked = {"traceId": "t", "field": "input", "contentType": "image/png", "contentLength": 3, "sha256Hash": digest}
    signed = {"Content-Type": "image/png", "x-amz-checksum-sha256": digest}
    closed = {"uploadedAt": "2026-11-20T00:00:00Z", "uploadHttpStatus": 200}
    async with FakeLangfuse().running() as fake, aiohttp.ClientSession() as session:
        assert (await post(fake, "/api/public/media", asked | {"contentType": "image/x"}, JSON))[0] == 400
        status, answer = await post(fake, "/api/public/media", asked, JSON)
        assert status == 201
        url = URL(answer["uploadUrl"], encoded=True)
        for body, headers, wanted in ((b"png", {}, 400), (b"gif", signed, 400), (b"png", signed, 200)):
            async with session.put(url, data=body, headers=headers) as response:
                assert response.status == wanted
        assert (await post(fake, "/api/public/media", asked, JSON))[1]["uploadUrl"] is not None
        path = f"{fake.url}/api/public/media/{answer['mediaId']}"
        async with session.patch(path, json=closed, headers=basic(fake)) as response:
            assert response.status == 200
        assert (await post(fake, "/api/public/media", asked, JSON))[1]["uploadUrl"] is None
        assert list(fake.media.values()) == [b"png"]


@pytest.mark.parametrize(("said", "version"), [("3", "3.120.0"), ("4", "4.61.0"), ("4.16.0", "4.16.0")])
def test_a_major_version_is_its_newest_that_is_known(said: str, version: str) -> None:
    assert FakeLangfuse(said).version == version


def test_in_a_thread_it_serves_code_that_blocks() -> None:
    with FakeLangfuse("3.120.0").in_thread() as fake, urllib.request.urlopen(f"{fake.url}/api/public/health") as answer:
        assert json.load(answer) == {"status": "OK", "version": "3.120.0"}


@pytest.mark.slow
def test_as_a_program_it_says_where_it_is_and_records(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    command = [
        sys.executable,
        "-m",
        "otel_bridge.testing.fake_langfuse",
        "--version",
        "4.16.0",
        "--record",
        str(record),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        headers = basic(FakeLangfuse()) | PROTOBUF
        for body, path in ((b'{"route":"otlp","faults":[{"status":418}]}', "/fake/script"), (request(), OTLP)):
            sent = urllib.request.Request(url + path, data=body, headers=headers)
            if path == OTLP:
                with pytest.raises(urllib.error.HTTPError, match="418") as refused:
                    urllib.request.urlopen(sent)
                refused.value.close()
            urllib.request.urlopen(sent).close()
        with urllib.request.urlopen(f"{url}/fake/state") as answer:
            assert json.load(answer)["observations"] == 1
        program.terminate()
        said = program.stdout.read()
        assert program.wait(10) == 0
    assert f"export LANGFUSE_BASE_URL={url} LANGFUSE_PUBLIC_KEY=pk-lf-fake LANGFUSE_SECRET_KEY=sk-lf-fake" in said
    assert said.endswith("1 observation in 1 trace, 0 scores\n  01010101  s, 1 SPAN\n")
    assert json.loads(record.read_text())["id"] == "02" * 8
