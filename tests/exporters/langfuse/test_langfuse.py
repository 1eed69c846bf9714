"""The exporter against a Langfuse on loopback: each server version, each answer."""

import asyncio
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from otel_bridge.errors import BusyError, ConsumeError, ParkedError, RefusedError, RetryableError, TooLargeError
from otel_bridge.exporters.langfuse import LangfuseConfig
from otel_bridge.exporters.langfuse.ingestion import score_events
from otel_bridge.model import Observation, ObservationType, Score, Translation
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault

Opened = Callable[..., Any]
Build = Callable[..., Translation]
Make = Callable[..., Observation]
MakeScore = Callable[..., Score]

OTLP = "/otel/v1/traces"
INGESTION = "/ingestion"
SCORES = "/scores"

VERSIONS = ["2.95.12", "3.21.0", "3.22.0", "3.60.0", "3.120.0", "4.0.0", "4.16.0", "4.61.0"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_observations_and_scores_arrive_at_every_server(opened: Opened, translation: Build, version: str) -> None:
    async with FakeLangfuse(version).running() as fake, opened(fake) as settle:
        await settle(translation(observations=3, scores=2))

        assert set(fake.observations) == {f"{n:016x}" for n in (1, 2, 3)}
        assert fake.observations[f"{2:016x}"]["name"] == "step 2"
        assert {key: score["value"] for key, score in fake.scores.items()} == {"score-1": 0.5, "score-2": 0.5}
        assert {score["timestamp"] for score in fake.scores.values()} == {"2026-11-18T11:06:40.123Z"}
        assert fake.duplicates == 0
        assert fake.dropped == []


@pytest.mark.parametrize(
    ("version", "spans", "scores", "trace_writes"),
    [
        ("2.95.12", INGESTION, INGESTION, 1),
        ("3.120.0", OTLP, INGESTION, 1),
        ("4.16.0", OTLP, INGESTION, 0),
        ("4.61.0", OTLP, SCORES, 0),
    ],
)
async def test_the_version_picks_the_writer(
    opened: Opened, translation: Build, version: str, spans: str, scores: str, trace_writes: int
) -> None:
    async with FakeLangfuse(version).running() as fake, opened(fake) as settle:
        await settle(translation(observations=2, scores=1))

        wanted = ["/health", spans] if spans == scores else ["/health", spans, scores]
        assert [request.path.removeprefix("/api/public") for request in fake.requests] == wanted
        assert len(fake.traces) == trace_writes
        if trace_writes:
            trace = fake.traces["0af7651916cd43dd8448eb211c80319c"]
            assert (trace["name"], trace["userId"], trace["sessionId"]) == ("answer", "ada", "s-1")
            assert trace["tags"] == ["a, b", "c"]


async def test_requests_say_who_sends_and_how(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        await settle(translation())

        headers = fake.sent_to(OTLP)[0].headers
        assert headers["Content-Type"] == "application/x-protobuf"
        assert headers["Content-Encoding"] == "gzip"
        assert headers["x-langfuse-ingestion-version"] == "4"
        assert headers["x-langfuse-sdk-name"] == "otel-bridge"
        assert headers["Authorization"].startswith("Basic ")


async def test_server_3_is_not_asked_for_what_only_server_4_has(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse("3.22.0").running() as fake, opened(fake) as settle:
        await settle(translation())

        headers = fake.sent_to(OTLP)[0].headers
        assert "x-langfuse-ingestion-version" not in headers
        assert "Content-Encoding" not in headers


async def test_in_dual_mode_server_4_writes_the_new_rows_only(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse("4.16.0", mode="dual").running() as fake, opened(fake) as settle:
        await settle(translation())

        assert len(fake.observations) == 3
        assert fake.traces == {}


async def test_a_server_4_that_writes_the_old_tables_drops_nothing(opened: Opened, observation: Make) -> None:
    odd = observation(
        name="n" * 2000,
        type=ObservationType.GENERATION,
        prompt_name="p",
        cost={"total": float("nan")},
        completion_start_ns=-1,
    )
    async with FakeLangfuse("4.16.0", mode="legacy").running() as fake, opened(fake) as settle:
        await settle(Translation(observations=[odd]))

        assert fake.dropped == []
        assert fake.observations[odd.id]["metadata"]["name"] == "n" * 2000


# --- the answer table, over the wire


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(400, '{"message":"bad \x1b[2J span"}'), RefusedError),
        (Fault(422), RefusedError),
        (Fault(413), TooLargeError),
        (Fault(429), RetryableError),
        *((Fault(status), RetryableError) for status in (408, 409, 425, 500, 502, 503, 504, 520, 527)),
        *((Fault(status), ParkedError) for status in (401, 403, 404, 405, 407, 410, 415, 421, 501)),
        (Fault(302, headers={"Location": "https://sso.example"}), ParkedError),
        (Fault(307, headers={"Location": "/elsewhere"}), ParkedError),
        (Fault(200, "<html>log in</html>", {"Content-Type": "text/html"}), ParkedError),
        (Fault(does="disconnect"), RetryableError),
        pytest.param(Fault(does="hang"), RetryableError, marks=pytest.mark.slow),
    ],
    ids=lambda value: f"{value.does}-{value.status}" if isinstance(value, Fault) else value.__name__,
)
@pytest.mark.parametrize(("version", "route"), [("4.61.0", "otlp"), ("2.95.12", "ingestion"), ("4.61.0", "scores")])
async def test_each_answer_is_its_error_and_the_next_delivery_works(
    opened: Opened, translation: Build, version: str, route: Any, fault: Fault, kind: type[ConsumeError]
) -> None:
    timeout_s = 1 if fault.does == "hang" else 30
    async with FakeLangfuse(version).running() as fake, opened(fake, timeout=timeout_s) as settle:
        if route == "scores" and kind is RefusedError:  # which has a way of its own
            fake.script("ingestion", fault)
        await settle(translation(observations=1, scores=1))  # the langfuse package is imported now
        sent = translation(observations=3, scores=2)
        fake.script(route, fault)

        with pytest.raises(ConsumeError) as refused:
            await settle(sent)
        assert isinstance(refused.value, kind)
        assert str(refused.value).isprintable()

        await settle(sent)
        assert len(fake.observations) == 3
        assert len(fake.scores) == 2


@pytest.mark.parametrize("body", [b"", b'{"id":"job"}', b"\n\x02\xff\xfe", b"x" * 1_000_000])
async def test_spans_are_delivered_with_200_whatever_the_body(opened: Opened, translation: Build, body: bytes) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("otlp", Fault(200, body.decode("latin-1"), stored=True))
        await settle(translation())
        assert len(fake.observations) == 3


async def test_the_refusal_says_status_and_reason_fit_for_a_log(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("otlp", Fault(400, "no\x1b[2J\n" + "x" * 1000))
        with pytest.raises(RefusedError, match=r"answered 400: no\\x1b\[2J\\nx+…$") as refused:
            await settle(translation())
        assert len(str(refused.value)) < 400


async def test_the_wait_that_langfuse_names_is_passed_on(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("otlp", Fault(429, headers={"Retry-After": "7"}))
        with pytest.raises(RetryableError) as limited:
            await settle(translation())
        assert limited.value.retry_after_s == 7


async def test_a_retry_sends_identical_bytes(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("otlp", Fault(500), Fault(does="disconnect", stored=True))
        sent = translation(observations=200)
        for _ in range(2):
            with pytest.raises(RetryableError):
                await settle(sent)
        await settle(sent)

        assert len({request.body for request in fake.sent_to(OTLP)}) == 1
        assert len(fake.sent_to(OTLP)) == 3


async def test_nobody_there_is_retryable(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake:
        pass
    async with opened(fake) as settle:
        with pytest.raises(RetryableError, match=r"127\.0\.0\.1"):
            await settle(translation())


async def test_wrong_keys_park(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake, secret_key="sk-other") as settle:
        with pytest.raises(ParkedError) as parked:
            await settle(translation())
        assert parked.value.reason == "unauthorized"
        assert "sk-other" not in str(parked.value)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
async def test_a_certificate_that_nobody_vouches_for_parks(opened: Opened, translation: Build, tmp_path: Path) -> None:
    context = self_signed(tmp_path)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with opened(FakeLangfuse(), base_url=f"https://127.0.0.1:{port}") as settle:
            with pytest.raises(ParkedError) as parked:
                await settle(translation())
    assert parked.value.reason == "tls"


async def test_a_server_that_speaks_no_tls_parks(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake:
        async with opened(fake, base_url=fake.url.replace("http:", "https:")) as settle:
            with pytest.raises(ParkedError) as parked:
                await settle(translation())
        assert parked.value.reason == "tls"


def self_signed(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


# --- the version


async def test_data_waits_until_the_version_is_known(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("health", Fault(503), Fault(200, "<html>", {"Content-Type": "text/html"}), Fault(200, '{"ok":1}'))
        reasons = []
        for _ in range(3):
            with pytest.raises(ConsumeError) as refused:
                await settle(translation())
            reasons.append(getattr(refused.value, "reason", "retry"))

        assert reasons == ["retry", "html_response", "not_langfuse"]
        assert fake.sent_to(OTLP) == []
        await settle(translation())
        assert len(fake.observations) == 3


async def test_the_version_is_asked_once_and_again_after_each_park_and_lost_connection(
    opened: Opened, translation: Build
) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        await asyncio.gather(*(settle(translation(observations=1)) for _ in range(4)))
        assert len(fake.sent_to("/health")) == 1

        for fault, asked in ((Fault(500), 1), (Fault(403), 2), (Fault(does="disconnect"), 3)):
            fake.script("otlp", fault)
            with pytest.raises(ConsumeError):
                await settle(translation())
            await settle(translation())
            assert len(fake.sent_to("/health")) == asked


async def test_a_server_that_was_upgraded_gets_its_new_writer(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse("2.95.12").running() as fake, opened(fake) as settle:
        await settle(translation(observations=1))
        fake.version = "4.61.0"
        with pytest.raises(RetryableError, match="another version"):
            await settle(translation())
        await settle(translation())
        assert len(fake.sent_to(OTLP)) == 1


# --- scores


async def test_scores_that_fail_do_not_send_the_observations_again(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        sent = translation(observations=3, scores=1)
        fake.script("scores", Fault(500), Fault(503))
        for _ in range(2):
            with pytest.raises(RetryableError):
                await settle(sent)
        await settle(sent)

        assert len(fake.sent_to(OTLP)) == 1
        assert fake.duplicates == 0
        await settle(sent)  # as after a restart, when nobody remembers
        assert len(fake.sent_to(OTLP)) == 2


async def test_what_says_something_else_under_an_id_that_was_taken_is_sent(
    opened: Opened, translation: Build, observation: Make
) -> None:
    async with FakeLangfuse("3.120.0").running() as fake, opened(fake) as settle:
        fake.script("ingestion", Fault(500))
        with pytest.raises(RetryableError):
            await settle(translation(observations=1, scores=1))
        await settle(Translation(observations=[observation(1, output="late")]))
        assert fake.observations[f"{1:016x}"]["output"] == "late"


async def test_a_rejected_score_is_found_by_halving_and_its_neighbours_arrive(
    opened: Opened, translation: Build, score: MakeScore
) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        whole = translation(observations=2, scores=8)
        whole.scores[5] = score(6, value=3.0, data_type="BOOLEAN")
        culprits = await bisect(settle, whole)

        assert culprits == ["score-6"]
        assert set(fake.scores) == {f"score-{n}" for n in range(1, 9)} - {"score-6"}
        assert len(fake.sent_to(OTLP)) == 1


async def bisect(settle: Any, translation: Translation) -> list[str]:
    """As delivery does: halves, observations first."""
    try:
        await settle(translation)
    except RefusedError:
        scores = translation.scores
        if len(scores) == 1:
            return [scores[0].id]
        half = len(scores) // 2
        first = Translation(observations=translation.observations, scores=scores[:half])
        return await bisect(settle, first) + await bisect(settle, Translation(scores=scores[half:]))
    return []


async def test_long_lists_of_scores_go_in_pieces_and_what_was_taken_is_not_sent_again(
    opened: Opened, score: MakeScore
) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        many = Translation(scores=[score(n, comment="x" * 3000) for n in range(1, 301)])
        await settle(Translation(scores=[score(0)]))
        fake.script("scores", *[Fault(200, '{"message":"Accepted"}', stored=True)] * 2, Fault(500))
        with pytest.raises(RetryableError):
            await settle(many)
        await settle(many)

        assert len(fake.scores) == 301
        assert fake.duplicates == 0
        assert max(len(request.body) for request in fake.sent_to(SCORES)) < 1 << 20


def kept_in(folder: Path) -> list[Path]:
    return list(folder.glob("langfuse-taken-*.json"))


@pytest.mark.parametrize("ends", ["it fails", "it is cancelled"])
async def test_what_was_taken_before_a_bridge_ended_is_not_sent_again_by_the_next(
    opened: Opened, translation: Build, tmp_path: Path, ends: str
) -> None:
    """Its scores were missing; and what was kept of it is gone once they came, whatever project that is."""
    async with FakeLangfuse().running() as fake:
        async with opened(fake) as settle:
            if ends == "it fails":
                fake.script("scores", Fault(503))
                with pytest.raises(RetryableError):
                    await settle(translation(observations=2, scores=1))
            else:
                fake.script("scores", Fault(does="hang"))
                sending = asyncio.ensure_future(settle(translation(observations=2, scores=1)))
                while not fake.sent_to(SCORES):  # noqa: ASYNC110 - whoever hangs tells nobody
                    await asyncio.sleep(0.001)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        [kept] = kept_in(tmp_path)
        assert kept.stat().st_mode & 0o777 == 0o600
        async with opened(fake) as settle:
            assert not kept.exists()
            await settle(translation(observations=2, scores=1))
        assert (len(fake.observations), len(fake.scores), fake.duplicates) == (2, 1, 0)
        assert len(fake.sent_to(OTLP)) == 1
        assert not kept.exists()


async def test_nothing_is_kept_of_what_was_set_aside(
    opened: Opened, translation: Build, score: MakeScore, tmp_path: Path
) -> None:
    """It does not come again by itself; and who sends it again then may have deleted it in Langfuse."""
    async with FakeLangfuse("2.95.12").running() as fake:
        async with opened(fake) as settle:
            whole = translation(observations=2, scores=8)
            whole.scores[5] = score(6, value=3.0, data_type="BOOLEAN")
            assert await bisect(settle, whole) == ["score-6"]
        assert kept_in(tmp_path) == []


@pytest.mark.parametrize("version", ["2.95.12", "4.61.0"])
async def test_what_is_sent_again_by_hand_is_sent_whole(opened: Opened, translation: Build, version: str) -> None:
    """Though Langfuse had taken a part of it, and the rest never came: that may have been deleted there since."""
    async with FakeLangfuse(version).running() as fake, opened(fake) as settle:
        bad = translation(2, 1)
        bad.scores[0] = replace(bad.scores[0], value=3.0, data_type="BOOLEAN")
        with pytest.raises(RefusedError):
            await settle(bad)
        assert len(fake.observations) == 2
        fake.observations.clear()
        await settle(replace(translation(2), again=True))
        assert len(fake.observations) == 2


async def test_what_is_kept_of_another_project_says_nothing(opened: Opened, translation: Build) -> None:
    for _ in range(2):
        async with FakeLangfuse().running() as fake, opened(fake) as settle:  # at an address of its own
            fake.script("scores", Fault(503))
            with pytest.raises(RetryableError):
                await settle(translation(observations=2, scores=1))
            assert len(fake.sent_to(OTLP)) == 1


async def test_where_what_was_kept_can_not_be_read_all_comes_again(
    opened: Opened, translation: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeLangfuse().running() as fake:
        async with opened(fake) as settle:
            fake.script("scores", Fault(503))
            with pytest.raises(RetryableError):
                await settle(translation(observations=2, scores=1))
        [kept] = kept_in(tmp_path)
        kept.write_text("[1")
        async with opened(fake) as settle:
            await settle(translation(observations=2, scores=1))
        assert (len(fake.scores), fake.duplicates) == (1, 2)
    assert "comes again" in capsys.readouterr().err


@pytest.mark.parametrize("body", ["", "no json", "[]", '{"message":"odd"}', '{"accepted":"many"}'])
async def test_a_207_that_cannot_be_read_parks(opened: Opened, translation: Build, body: str) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("scores", Fault(207, body))
        with pytest.raises(ParkedError, match="not Langfuse's"):
            await settle(translation(observations=1, scores=1))


async def test_a_score_has_one_target_and_its_type(opened: Opened, score: MakeScore) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        await settle(
            Translation(
                scores=[
                    score(1, session_id="s-1", comment="why", environment="Prod", metadata={"label": "good"}),
                    score(2, trace_id=None, session_id="s-1"),
                    score(3, value="good", data_type="CATEGORICAL"),
                    score(4, value="x" * 600, data_type="TEXT"),
                    score(5, value=1.0, data_type="BOOLEAN"),
                ]
            )
        )

        first = fake.scores["score-1"]
        assert (first["traceId"], first["observationId"], first.get("sessionId")) == (
            "0af7651916cd43dd8448eb211c80319c",
            f"{1:016x}",
            None,
        )
        assert (first["comment"], first["environment"], first["metadata"]) == ("why", "prod", {"label": "good"})
        assert fake.scores["score-2"]["sessionId"] == "s-1"
        assert "observationId" not in fake.scores["score-2"]
        assert fake.scores["score-3"]["value"] == "good"
        assert fake.scores["score-4"]["value"] == "x" * 500
        assert fake.scores["score-4"]["metadata"]["value"] == "x" * 600


# --- limits and configuration


@pytest.mark.parametrize("version", ["2.95.12", "3.120.0", "4.61.0"])
async def test_more_than_max_request_is_split_before_it_is_sent(
    opened: Opened, observation: Make, version: str
) -> None:
    """One alone is the server's to judge, also where it takes two events to say it."""
    async with FakeLangfuse(version).running() as fake, opened(fake, max_request="64KiB") as settle:
        large = [observation(n, input="x" * 40_000, size=40_500) for n in (1, 2)]
        with pytest.raises(TooLargeError, match="max_request"):
            await settle(Translation(observations=large))
        for one in large:
            await settle(Translation(observations=[one]))
        await settle(Translation(observations=[observation(3, input="x" * 400_000, size=400_500)]))
        assert len(fake.observations) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "cloud.langfuse.com"},
        {"base_url": "ftp://host"},
        {"base_url": "https://pk:sk@host"},
        {"base_url": "https://"},
        {"public_key": ""},
        {"secret_key": ""},
        {"timeout": 0},
        {"host": "https://x"},
    ],
)
def test_a_configuration_that_cannot_work_is_refused_without_its_secrets(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        LangfuseConfig(**({"public_key": "pk", "secret_key": "sk-secret"} | settings))
    assert "sk" not in str(refused.value).replace("https", "")


async def test_base_urls_may_have_a_path_and_a_slash(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake, base_url=f"{fake.url}/") as settle:
        await settle(translation(observations=1, scores=1))
        assert len(fake.scores) == 1


@pytest.mark.slow
def test_importing_the_exporter_imports_neither_langfuse_nor_a_client() -> None:
    code = (
        "import sys, otel_bridge.exporters.langfuse.otlp, otel_bridge.exporters.langfuse.ingestion as i;"
        "print([m for m in ('langfuse', 'httpx', 'aiohttp', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_json_of_the_ingestion_api_is_valid(observation: Make) -> None:
    from otel_bridge.exporters.langfuse.ingestion import batch, events

    odd = observation(1, input={"n": float("nan"), "s": "\ud800"}, usage={"input": 1, "total": 1})
    assert json.loads(batch(events(Translation(observations=[odd]))))["batch"]


async def test_of_a_list_with_rejected_scores_the_others_arrive_at_most_twice(
    opened: Opened, translation: Build, score: MakeScore
) -> None:
    """The server says how many, not which: they are asked for one by one, once."""
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        whole = translation(observations=1, scores=50)
        for number in (7, 20, 41):
            whole.scores[number - 1] = score(number, value=3.0, data_type="BOOLEAN")
        culprits = await bisect(settle, whole)

        assert sorted(culprits) == ["score-20", "score-41", "score-7"]
        assert len(fake.scores) == 47
        assert max(fake.arrivals[f"score score-{n}"] for n in range(1, 51)) <= 2
        assert len(fake.sent_to(OTLP)) == 1


async def test_a_rejected_score_is_told_of_with_its_reason(opened: Opened, score: MakeScore) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        with pytest.raises(RefusedError, match="rejected 1 of 1 scores: value does not fit dataType BOOLEAN"):
            await settle(Translation(scores=[score(1, value=3.0, data_type="BOOLEAN")]))


async def test_where_lists_of_scores_are_refused_events_go_and_it_is_remembered(
    opened: Opened, translation: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("scores", Fault(400, "expected object, received array"))
        await settle(translation(observations=1, scores=3))
        await settle(translation(observations=1, scores=4))
        assert len(fake.scores) == 4
        assert len(fake.sent_to(SCORES)) == 1
        assert len(fake.sent_to(INGESTION)) == 2

    monkeypatch.setattr("otel_bridge.exporters.langfuse.NO_LISTS_FOR_S", 0)  # as if an hour had passed
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("scores", Fault(400, "expected object, received array"))
        for _ in range(2):
            await settle(translation(observations=1, scores=3))
        assert len(fake.sent_to(SCORES)) == 2


@pytest.mark.parametrize("version", ["4.61.0", "2.95.12"])
async def test_a_quota_that_is_used_up_is_left_alone_by_all_who_share_it(
    opened: Opened, translation: Build, version: str
) -> None:
    """And other keys go on."""
    async with FakeLangfuse(version).running() as fake, opened(fake) as settle, opened(fake) as other:
        route: Any = "otlp" if version == "4.61.0" else "ingestion"
        fake.script(route, Fault(429, headers={"Retry-After": "7"}))
        waits = []
        for _ in range(3):
            with pytest.raises(BusyError) as busy:
                await settle(translation(observations=1))
            waits.append(busy.value.retry_after_s)
        assert waits[0] == 7
        assert all(6 < wait <= 7 for wait in waits)
        assert len(fake.sent_to(OTLP)) + len(fake.sent_to(INGESTION)) == 1
        await other(translation(observations=1))
        assert len(fake.observations) == 1


async def test_of_a_mixed_207_each_event_is_treated_by_its_own_code(opened: Opened, score: MakeScore) -> None:
    """The one that failed is sent again alone; the refused one is refused; the taken one never comes twice."""
    async with FakeLangfuse("4.16.0").running() as fake, opened(fake) as settle:
        sent = Translation(scores=[score(1), score(2), score(3)])
        first, second, third = (event["id"] for event in score_events(sent.scores, version=(4, 16, 0)))
        answer = {
            "successes": [{"id": first, "status": 201}],
            "errors": [
                {"id": second, "status": 400, "message": "bad value"},
                {"id": third, "status": 500, "message": "try again"},
            ],
        }
        fake.script("ingestion", Fault(207, json.dumps(answer)))
        with pytest.raises(RetryableError, match="500"):
            await settle(sent)
        answer = {"successes": [{"id": third, "status": 201}], "errors": answer["errors"][:1]}
        fake.script("ingestion", Fault(207, json.dumps(answer)))
        with pytest.raises(RefusedError, match="bad value"):
            await settle(sent)
        batches = [json.loads(request.body)["batch"] for request in fake.sent_to(INGESTION)]
        assert [[event["id"] for event in batch] for batch in batches] == [[first, second, third], [second, third]]
        for one in (sent.scores[0], sent.scores[2]):
            await settle(Translation(scores=[one]))
        assert len(fake.sent_to(INGESTION)) == 2


async def test_an_event_that_is_unauthorized_parks(opened: Opened, score: MakeScore) -> None:
    async with FakeLangfuse("4.16.0").running() as fake, opened(fake) as settle:
        [event] = score_events([score(1)], version=(4, 16, 0))
        answer = {"successes": [], "errors": [{"id": event["id"], "status": 401, "message": "no"}]}
        fake.script("ingestion", Fault(207, json.dumps(answer)))
        with pytest.raises(ParkedError) as parked:
            await settle(Translation(scores=[score(1)]))
        assert parked.value.reason == "unauthorized"
