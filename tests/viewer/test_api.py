"""The API over real HTTP: what it answers, and how it says what it can not."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_bridge.cli.detect import load_findings
from otel_bridge.cli.questions import load_observation, load_trace
from otel_bridge.model import Omitted, Translation
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from otel_bridge.trace import Decision
from otel_bridge.viewer.app import routes
from otel_bridge.viewer.login import Login
from tests.query.detectors.spans import beat
from tests.viewer.conftest import OPEN, FakeBridge, harmful

TRACE = "0af7651916cd43dd8448eb211c80319c"
GENERATION = f"{2:016x}"
CHANGE = {"X-Otel-Bridge": "1"}


@pytest.fixture
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url) as session:
        yield session


async def got(http: aiohttp.ClientSession, path: str, status: int = 200) -> Any:
    async with http.get(path) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def test_traces_are_listed_and_filtered(http: aiohttp.ClientSession) -> None:
    assert [trace["status"] for trace in (await got(http, "/api/v1/traces"))["traces"]] == ["open", "error"]
    assert (await got(http, "/api/v1/traces?tenant=default&filter=name:nobody"))["traces"] == []
    assert (await got(http, "/api/v1/traces?tenant=defaults", 400))["error"] == (
        "there is no tenant 'defaults', did you mean default?"
    )
    found = await got(http, "/api/v1/traces?filter=errors:>0&sort=-duration&limit=1")
    assert [trace["id"] for trace in found["traces"]] == [TRACE]


async def test_one_trace_and_one_observation(http: aiohttp.ClientSession) -> None:
    trace = await got(http, f"/api/v1/traces/{TRACE[:6]}")
    assert [(row["depth"], row["type"]) for row in trace["observations"]] == [
        (0, "AGENT"), (1, "GENERATION"), (1, "TOOL"),
    ]  # fmt: skip
    observation = await got(http, f"/api/v1/traces/{TRACE}/observations/{GENERATION}")
    assert observation["input"]["messages"][0]["content"] == "<script>alert(1)</script>"


async def test_a_trace_leads_to_where_else_it_is_shown(http: aiohttp.ClientSession, bridge: FakeBridge) -> None:
    """Not while it is open; and nowhere but on the web, whatever a destination says of itself."""
    assert (await got(http, f"/api/v1/traces/{TRACE}"))["links"] == []
    bridge.told = {
        "langfuse": {"default": {"trace_url": "https://langfuse.team/project/p%22/traces/{traceId}"}, "acme": {}},
        "langfuse/acme": {"acme": {"trace_url": "https://langfuse.acme/project/q/traces/{traceId}"}},
        "langfuse/old": {"default": {"server": "2.95.12"}},
        **{
            f"langfuse/{n}": {"default": {"trace_url": url}}
            for n, url in enumerate(("javascript:alert(1)", "//x", "http://["))
        },
    }
    assert (await got(http, f"/api/v1/traces/{TRACE}"))["links"] == [
        {"exporter": "langfuse", "url": f"https://langfuse.team/project/p%22/traces/{TRACE}"}
    ]
    assert (await got(http, f"/api/v1/traces/{OPEN}"))["links"] == []


async def test_an_observation_is_found_by_name_and_a_trace_may_be_full(http: aiohttp.ClientSession) -> None:
    named = await got(http, f"/api/v1/traces/{TRACE}/observations/planner")
    (_, generation, _) = (await got(http, f"/api/v1/traces/{TRACE}?full=true"))["observations"]
    assert (named["type"], named["id"]) == ("AGENT", f"{1:016x}")
    assert generation["input"]["messages"][0]["content"] == "<script>alert(1)</script>"


async def test_the_command_line_asks_the_same(url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a running bridge as of the file, all pages of it."""
    monkeypatch.setattr("otel_bridge.query.traces.FULL_BYTES", 1)
    file = data_dir / "store.db"

    for full in (True, False):
        assert await asyncio.to_thread(load_trace, url, TRACE[:4], full=full) == load_trace(file, TRACE, full=full)
    for said in (GENERATION, "planner", "2 <script>alert(1)</script>"):  # with what a path may not hold
        assert await asyncio.to_thread(load_observation, url, TRACE, said) == load_observation(file, TRACE, said)


async def test_a_session_of_any_name_is_found(http: aiohttp.ClientSession) -> None:
    from urllib.parse import quote

    name = (await got(http, "/api/v1/sessions"))["sessions"][0]["id"]
    assert "/" in name
    assert [trace["id"] for trace in (await got(http, f"/api/v1/sessions/{quote(name, safe='')}"))["traces"]] == [TRACE]
    assert (
        "of the tenant 'acme'"
        in (await got(http, f"/api/v1/sessions/{quote(name, safe='')}?tenant=acme", 404))["error"]
    )
    assert "no tenant 'acme'" in (await got(http, "/api/v1/sessions?tenant=acme", 400))["error"]


@pytest.mark.parametrize("form", ["text", "md"])
async def test_a_trace_as_text_is_a_download(http: aiohttp.ClientSession, form: str) -> None:
    async with http.get(f"/api/v1/traces/{TRACE}?format={form}") as response:
        assert response.content_type == "text/plain"
        assert response.headers["Content-Disposition"].startswith(f'attachment; filename="trace-{TRACE}')
        assert "AGENT  planner" in await response.text()


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/v1/traces?filter=nme:x", 400, "did you mean name?"),
        ("/api/v1/traces?filter=" + "a" * 2000, 400, "1000 at most"),
        ("/api/v1/traces?limit=0", 400, "1 to 200"),
        ("/api/v1/traces?limit=-1", 400, "number of rows"),
        ("/api/v1/traces?limit=99999999999999999999", 400, "number of rows"),
        ("/api/v1/traces?cursor=x", 400, "cursor"),
        (f"/api/v1/traces/{TRACE}?format=xml", 400, "json, text, md"),
        (f"/api/v1/traces/{TRACE}?full=yes", 400, "false, true"),
        ("/api/v1/traces?q=status:error", 400, "no parameter 'q', there are filter, sort, limit, cursor"),
        ("/api/v1/status?verbose=1", 400, "none is taken here"),
        ("/api/v1/traces/ffff", 404, "no trace"),
        (f"/api/v1/traces/{TRACE}/observations/ffff", 404, "no observation"),
        ("/api/v1/sessions/nobody", 404, "no session"),
        ("/api/v1/nothing", 404, "nothing at this address"),
        ("/t/..%2f..%2fetc", 404, "nothing at this address"),
        ("/t/xyz", 404, "no trace id"),
        ("/ui/app.js", 404, "nothing at this address"),
        ("/../app.py", 404, "nothing at this address"),
    ],
)
async def test_what_can_not_be_answered_is_said(http: aiohttp.ClientSession, path: str, status: int, said: str) -> None:
    assert said in (await got(http, path, status))["error"]


async def test_who_asks_the_api_with_a_browser_has_its_answer(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1/nothing", headers={"Accept": "text/html,*/*;q=0.8"}) as response:
        assert (response.status, response.content_type) == (404, "application/json")


async def test_a_link_leads_to_the_page(http: aiohttp.ClientSession) -> None:
    async with http.get(f"/t/{TRACE}", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, f"../#/t/{TRACE}")
    async with http.get(f"/t/{TRACE}", params={"tenant": "a&b #1"}, allow_redirects=False) as response:
        assert response.headers["Location"] == f"../#/t/{TRACE}?tenant=a%26b+%231"


async def test_probes(http: aiohttp.ClientSession, bridge: Any) -> None:
    async with http.get("/healthz") as alive, http.get("/readyz") as ready:
        assert (alive.status, ready.status) == (200, 200)
    bridge.ready = False
    async with http.get("/readyz") as ready:
        assert ready.status == 503
        assert await ready.text() == "not ready\n"
    assert (await got(http, "/api/v1/status"))["ready"] is False


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.5, {"gen_ai.evaluation.score.value": 0.5}),
        (3, {"gen_ai.evaluation.score.value": 3.0}),
        ("kind", {"gen_ai.evaluation.score.label": "kind"}),
        (True, {"gen_ai.evaluation.score.value": 1.0, "gen_ai.evaluation.score.label": "true"}),
    ],
)
async def test_a_score_goes_the_way_of_any_evaluation(
    http: aiohttp.ClientSession, bridge: Any, value: object, said: dict[str, object]
) -> None:
    score = {"traceId": TRACE, "observationId": GENERATION, "name": "tone", "value": value, "comment": "c"}
    async with http.post("/api/v1/scores", json=score, headers=CHANGE) as response:
        assert response.status == 202, await response.text()

    (batch,) = bridge.batches
    assert isinstance(batch.request, ExportLogsServiceRequest)
    record = batch.request.resource_logs[0].scope_logs[0].log_records[0]
    attributes = {pair.key: pair.value.string_value or pair.value.double_value for pair in record.attributes}
    assert (record.event_name, record.trace_id.hex(), record.span_id.hex()) == (
        "gen_ai.evaluation.result", TRACE, GENERATION,
    )  # fmt: skip
    assert attributes == {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.explanation": "c", **said}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {}, 400),
        (b"not json", {}, 400),
        (b'{"traceId": "%s", "name": "n", "value": NaN}' % TRACE.encode(), {}, 400),
        (b'{"traceId": "%s", "name": "n", "value": 1, "more": 2}' % TRACE.encode(), {}, 400),
        (b'{"traceId": "short", "name": "n", "value": 1}', {}, 400),
        (b'{"traceId": "%s", "name": "n", "value": 1}' % (b"f" * 32), {}, 404),
        (b'{"traceId": "%s", "name": "a", "value": 1%s}' % (TRACE.encode(), b"0" * 400), {}, 400),
        (b" " * 100_000, {}, 413),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"X-Otel-Bridge": "0"}, 403),
    ],
)
async def test_a_score_that_is_none_is_refused(
    http: aiohttp.ClientSession, bridge: Any, body: bytes, headers: dict[str, str], status: int
) -> None:
    sent = {"Content-Type": "application/json", **CHANGE, **headers}
    async with http.post("/api/v1/scores", data=body, headers=sent) as response:
        assert response.status == status, await response.text()
    assert bridge.batches == []


async def test_a_score_for_an_id_that_two_tenants_have_says_whose(
    http: aiohttp.ClientSession, bridge: Any, data_dir: Path
) -> None:
    writer = Writer(data_dir / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters())
    writer.settled(replace(harmful(), tenant="acme"))
    writer.close()
    answers = []
    for said in ({}, {"tenant": "default"}, {"tenant": "acme"}, {"tenant": "globex"}):
        score = {"traceId": TRACE, "name": "tone", "value": 1, **said}
        async with http.post("/api/v1/scores", json=score, headers=CHANGE) as response:
            answers.append((response.status, (await response.json()).get("error", "")))

    assert [status for status, _ in answers] == [400, 202, 202, 404]
    assert "which of acme, default is meant" in answers[0][1]
    assert "of the tenant 'globex'" in answers[3][1]
    assert [batch.tenant for batch in bridge.batches] == ["default", "acme"]


async def test_findings_are_told_as_the_command_line_tells_them(
    http: aiohttp.ClientSession, url: str, data_dir: Path
) -> None:
    writer = Writer(data_dir / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters())
    beat(writer, 1, name="agent")
    writer.close()

    found = await got(http, "/api/v1/findings?kind=stalled&last=3650d")
    assert [(one["kind"], one["traceIds"]) for one in found["findings"]] == [("stalled", [f"{1:032x}"])]
    for source in (url, data_dir / "store.db"):
        told = await asyncio.to_thread(load_findings, source, ["stalled"], "3650d", tenant="default")
        assert [one["traceIds"] for one in told["findings"]] == [[f"{1:032x}"]]
        assert told.keys() == found.keys()
    assert (await got(http, "/api/v1/findings?kind=stalled&last=1h"))["findings"] == []
    assert "did you mean stalled?" in (await got(http, "/api/v1/findings?kind=stalled,staled", 400))["error"]
    assert "is no duration" in (await got(http, "/api/v1/findings?last=soon", 400))["error"]


async def test_without_a_store_the_answer_says_so(http: aiohttp.ClientSession, data_dir: Path) -> None:
    (data_dir / "store.db").unlink()

    assert "there is no store" in (await got(http, "/api/v1/traces", 503))["error"]


def test_the_description_knows_every_route(tmp_path: Path) -> None:
    """openapi.json is written by hand; a route that it does not describe, or that there is not, fails here."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        there = routes(tmp_path / "store.db", None, thread, Login(None, "token", lambda: False, secure=False))
    served = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in there
        if route.path.startswith("/api/")
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = json.loads((files("otel_bridge.viewer") / "openapi.json").read_text())
    assert served == {(path, method) for path, methods in described["paths"].items() for method in methods}


async def test_the_description_knows_every_parameter(http: aiohttp.ClientSession) -> None:
    """What is refused as unknown names exactly the parameters that openapi.json describes."""
    description = json.loads((files("otel_bridge.viewer") / "openapi.json").read_text())
    for path, methods in description["paths"].items():
        if "get" not in methods:
            continue
        said = [parameter.get("$ref", "").rpartition("/")[2] for parameter in methods["get"].get("parameters", ())]
        whole = [parameter for parameter in methods["get"].get("parameters", ()) if "name" in parameter]
        whole += [description["components"]["parameters"][name] for name in said if name]
        known = {parameter["name"] for parameter in whole if parameter["in"] == "query"}

        answer = (await got(http, path.replace("{", "").replace("}", "") + "?odd=1", 400))["error"]
        assert set(filter(None, answer.partition("there are ")[2].split(", "))) == known, path


async def test_a_score_for_a_trace_that_was_not_kept_says_so(
    http: aiohttp.ClientSession, bridge: Any, data_dir: Path
) -> None:
    """It is taken all the same: the bridge counts it as it counts its trace."""
    writer = Writer(data_dir / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters())
    writer.settled(Translation(dropped=[Omitted("", OPEN, "rate", Decision.SAMPLED_OUT)]))
    writer.close()
    score = {"traceId": OPEN, "name": "tone", "value": 1}
    async with http.post("/api/v1/scores", json=score, headers=CHANGE) as response:
        assert await response.json() == {"accepted": True, "omitted": "sampled_out:rate"}

    assert len(bridge.batches) == 1
