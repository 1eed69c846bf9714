"""Media out of observations: found in every known shape, uploaded before their reference is sent, never lost."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langfuse.api import MediaContentType
from langfuse.media import LangfuseMedia
from pydantic import ValidationError

from otel_bridge.component import Host
from otel_bridge.errors import ConsumeError, ParkedError, RetryableError
from otel_bridge.exporters.langfuse import LangfuseConfig, langfuse
from otel_bridge.exporters.langfuse.media import ACCEPTED, Search, lift
from otel_bridge.exporters.langfuse.uploads import STORAGE_ATTEMPTS
from otel_bridge.model import Observation, TraceAttributes, Translation
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault, Request
from tests.exporters.langfuse.conftest import Make

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40)
PDF = b"%PDF-1.4 made up" + bytes(60)
ANY = bytes(range(1, 91))


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def uri(content: bytes = PNG, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64(content)}"


def reference(content: bytes, kind: str) -> str:
    """As the langfuse package writes it."""
    written = LangfuseMedia(content_bytes=content, content_type=MediaContentType(kind))._reference_string
    assert written is not None
    return written.replace("source=bytes", "source=base64_data_uri")


SHAPES: list[tuple[str, Any, bytes, str]] = [
    ("data uri", uri(), PNG, "image/png"),
    ("openai image", {"type": "image_url", "image_url": {"url": uri()}}, PNG, "image/png"),
    ("openai responses", {"type": "input_image", "image_url": uri()}, PNG, "image/png"),
    ("openai audio", {"type": "input_audio", "input_audio": {"data": b64(WAV), "format": "wav"}}, WAV, "audio/wav"),
    ("openai spoken", {"audio": {"id": "a", "data": b64(WAV), "transcript": "Hi"}}, WAV, "audio/wav"),
    ("openai file", {"file": {"file_data": uri(PDF, "application/pdf"), "filename": "f"}}, PDF, "application/pdf"),
    ("openai made", {"data": [{"b64_json": b64(PNG)}]}, PNG, "image/png"),
    ("openai tool", {"type": "image_generation_call", "result": b64(PNG)}, PNG, "image/png"),
    (
        "anthropic",
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64(PNG)}},
        PNG,
        "image/png",
    ),
    ("gemini", {"inline_data": {"mime_type": "image/webp", "data": b64(ANY)}}, ANY, "image/webp"),
    (
        "gemini url-safe",
        {"inlineData": {"mimeType": "image/webp", "data": base64.urlsafe_b64encode(b"\xfb\xff" * 45).decode()}},
        b"\xfb\xff" * 45,
        "image/webp",
    ),
    ("vertex", {"type": "media", "mime_type": "application/pdf", "data": b64(PDF)}, PDF, "application/pdf"),
    (
        "otel blob",
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": b64(PNG)},
        PNG,
        "image/png",
    ),
    ("otel text blob", {"type": "blob", "mime_type": "text/csv", "content": b64(ANY)}, ANY, "text/csv"),
    ("ai sdk image", {"type": "image", "image": b64(PNG)}, PNG, "image/png"),
    ("ai sdk file", {"type": "file", "mediaType": "application/pdf", "data": b64(PDF)}, PDF, "application/pdf"),
    ("mcp", {"type": "audio", "mimeType": "audio/x-wav", "data": b64(WAV)}, WAV, "audio/wav"),
    ("mcp resource", {"uri": "file:///x", "mimeType": "image/png", "blob": b64(PNG)}, PNG, "image/png"),
    ("langchain", {"type": "image", "base64": b64(PNG), "mime_type": "image/png"}, PNG, "image/png"),
    ("pydantic ai", {"kind": "binary", "media_type": "image/png", "data": b64(PNG)}, PNG, "image/png"),
    ("bedrock", {"image": {"format": "png", "source": {"bytes": b64(PNG)}}}, PNG, "image/png"),
]


@pytest.mark.parametrize(("shape", "content", "kind"), [case[1:] for case in SHAPES], ids=[case[0] for case in SHAPES])
def test_every_known_shape(shape: Any, content: bytes, kind: str) -> None:
    search = Search()
    shown = search.within([{"role": "user", "content": [{"type": "text", "text": "See:"}, shape]}])

    [medium] = search.found
    assert (medium.content, medium.content_type) == (content, kind)
    assert medium.reference == reference(content, kind)
    assert json.dumps(shown).count("@@@langfuseMedia:") == 1
    assert ";base64," not in json.dumps(shown)
    assert search.within(shown) is shown


def test_within_text_all_around_it_stays() -> None:
    shown = Search().within(f"before ![a]({uri()}) and {uri(ANY, 'audio/mpeg')}, after")

    assert shown == f"before ![a]({reference(PNG, 'image/png')}) and {reference(ANY, 'audio/mpeg')}, after"


@pytest.mark.parametrize(
    "value",
    [
        "data:image/png;base64,",
        "data:image/png;base64,iVBOR",
        "data:image/png;base64,!!!!",
        "it begins with data:image/png;base64, and then",
        {"mime_type": "image/png", "data": "chart"},
        {"mime_type": "image/png", "data": "photo001"},
        {"mime_type": "text/plain", "content": "word" * 40},
        {"content": "word" * 40},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"mime_type": ["image/png"], "data": {"content": 5}},
        {"format": ["png"], "data": None},
        "@@@langfuseMedia:type=image/png|id=aaaaaaaaaaaaaaaaaaaaaa|source=base64_data_uri@@@",
    ],
)
def test_what_is_no_medium_stays(value: Any) -> None:
    search = Search()

    assert search.within(value) is value
    assert not search.found


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from([uri(), b64(PNG), "image/png", "png"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["type", "data", "mime_type", "source", "format", "content"]), inner, max_size=4
            )
        ),
        max_leaves=20,
    )
)
def test_any_value_can_be_searched_and_put_together_again(value: Any) -> None:
    search = Search()
    shown = json.dumps(search.within(value))
    for medium in search.found:
        shown = shown.replace(medium.reference, f"data:{medium.content_type};base64,{b64(medium.content)}")

    def as_uris(part: Any) -> Any:
        return part.replace(uri(), b64(PNG)) if isinstance(part, str) else part

    assert as_uris(shown) == as_uris(json.dumps(value))


def test_types_are_those_of_the_langfuse_package() -> None:
    assert {kind.value for kind in MediaContentType} == ACCEPTED


def test_what_holds_none_is_not_copied(observation: Make) -> None:
    seen = [observation(1, input=[{"role": "user", "content": "Hi"}], metadata={"a": {"b": [1, "c"]}})]

    lifted = lift(seen)

    assert lifted.observations[0] is seen[0]
    assert not lifted.links


# --- towards a Langfuse


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(id="langfuse", data_dir=tmp_path)


@asynccontextmanager
async def delivering(fake: FakeLangfuse, host: Host, **settings: Any) -> AsyncIterator[Any]:
    keys = {"base_url": fake.url, "public_key": fake.public_key, "secret_key": fake.secret_key}
    async with asynccontextmanager(langfuse.open)(LangfuseConfig(**(keys | settings)), host) as settle:
        yield settle


def asking(observation: Make, number: int = 1, **fields: Any) -> Observation:
    message = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri()}}]}]
    return observation(number, **({"input": message, "size": 1000} | fields))


def puts(fake: FakeLangfuse) -> list[Request]:
    return [request for request in fake.requests if request.method == "PUT"]


@pytest.mark.parametrize("version", ["3.0.0", "3.120.0", "4.16.0", "4.61.0"])
async def test_media_are_uploaded_once_and_linked_where_they_stand(observation: Make, host: Host, version: str) -> None:
    async with FakeLangfuse(version).running() as fake, delivering(fake, host) as settle:
        sent = [asking(observation), asking(observation, 2, output=uri(ANY, "audio/mpeg"))]
        await settle(Translation(observations=sent))

        assert sorted(fake.media.values()) == sorted([PNG, ANY])
        assert len(puts(fake)) == 2
        linked = {(link["observationId"], link["field"], link["contentType"]) for link in fake.media_links}
        assert linked == {
            (f"{1:016x}", "input", "image/png"),
            (f"{2:016x}", "input", "image/png"),
            (f"{2:016x}", "output", "audio/mpeg"),
        }
        stored = json.dumps(fake.observations)
        assert stored.count(reference(PNG, "image/png")) == 2
        assert ";base64," not in stored
        assert host.counters.value("media_uploaded") == 2
        assert host.counters.value("media_inline") == 0
        before = len(fake.media_links)
        await settle(Translation(observations=[asking(observation)]))
        assert len(fake.media_links) == before


async def test_media_come_with_each_replay(observation: Make, host: Host) -> None:
    """Langfuse deletes the media of a trace with it."""
    async with FakeLangfuse("4.61.0").running() as fake, delivering(fake, host) as settle:
        for _ in range(2):
            fake.media.clear()
            await settle(Translation(observations=[asking(observation)], again=True))
            assert list(fake.media.values()) == [PNG]


async def test_the_trace_s_own_input_has_the_same_reference(observation: Make, host: Host) -> None:
    """And so is no second copy of the root's."""
    trace = TraceAttributes(trace_id="0af7651916cd43dd8448eb211c80319c", input=uri(), metadata={"logo": uri()})
    for version in ("3.120.0", "4.61.0"):
        async with FakeLangfuse(version).running() as fake, delivering(fake, host) as settle:
            await settle(Translation(observations=[asking(observation, trace=trace, input=uri())]))

            assert ";base64," not in json.dumps([fake.observations, fake.traces])
            assert "trace_input" not in fake.observations[f"{1:016x}"]["metadata"]


@pytest.mark.parametrize(
    ("version", "settings", "reason"), [("4.61.0", {"media": False}, "off"), ("2.95.12", {}, "server")]
)
async def test_without_uploads_media_stay_and_are_counted(
    observation: Make, host: Host, version: str, settings: Any, reason: str
) -> None:
    async with FakeLangfuse(version).running() as fake, delivering(fake, host, **settings) as settle:
        await settle(Translation(observations=[asking(observation)]))

        assert uri() in json.dumps(fake.observations)
        assert fake.sent_to("/media") == []
        assert host.counters.value("media_inline", reason=reason) == 1


async def test_a_type_that_langfuse_refuses_stays_and_is_counted(observation: Make, host: Host) -> None:
    icon = uri(ANY, "image/x-icon")
    async with FakeLangfuse().running() as fake, delivering(fake, host) as settle:
        await settle(Translation(observations=[asking(observation, input=[icon, uri()])]))

        assert icon in json.dumps(fake.observations)
        assert reference(PNG, "image/png") in json.dumps(fake.observations)
        assert host.counters.value("media_inline", reason="content_type") == 1


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        ("media", Fault(500)),
        ("media", Fault(429, headers={"Retry-After": "7"})),
        ("media", Fault(does="disconnect")),
        ("upload", Fault(503)),
        ("upload", Fault(403, "<Error>AccessDenied</Error>")),
        ("upload", Fault(302, headers={"Location": "https://elsewhere.example"})),
    ],
)
async def test_no_span_is_sent_before_its_media_are_there(
    observation: Make, host: Host, route: Any, fault: Fault
) -> None:
    async with FakeLangfuse().running() as fake, delivering(fake, host) as settle:
        fake.script(route, fault)
        sent = Translation(observations=[asking(observation)])
        with pytest.raises(RetryableError) as refused:
            await settle(sent)
        assert "Signature" not in str(refused.value)
        assert fake.observations == {}

        await settle(sent)
        assert list(fake.media.values()) == [PNG]
        assert reference(PNG, "image/png") in json.dumps(fake.observations)


async def test_wrong_keys_park(observation: Make, host: Host) -> None:
    async with FakeLangfuse().running() as fake, delivering(fake, host, secret_key="sk-other") as settle:
        with pytest.raises(ParkedError) as parked:
            await settle(Translation(observations=[asking(observation)]))
        assert parked.value.reason == "unauthorized"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(400, "File size must be less than 1 byte"), "refused"),
        (Fault(404, "<html>", {"Content-Type": "text/html"}), "not_offered"),
        (Fault(201, '{"mediaId": "another"}'), "unknown_answer"),
        (Fault(201, "[]"), "unknown_answer"),
    ],
)
async def test_what_langfuse_will_not_take_stays(observation: Make, host: Host, fault: Fault, reason: str) -> None:
    async with FakeLangfuse().running() as fake, delivering(fake, host) as settle:
        fake.script("media", fault)
        await settle(Translation(observations=[asking(observation)]))

        assert uri() in json.dumps(fake.observations)
        assert host.counters.value("media_inline", reason=reason) == 1


def names(url: object) -> Fault:
    """Langfuse's answer that the image is to be put there."""
    media_id = base64.urlsafe_b64encode(hashlib.sha256(PNG).digest()).decode()[:22]
    return Fault(201, json.dumps({"mediaId": media_id, "uploadUrl": url}))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://storage.example/x", "http://", "http://[", "http://a:b/", "//x/y", 7]
)
async def test_langfuse_names_no_place_that_is_no_address(observation: Make, host: Host, url: object) -> None:
    async with FakeLangfuse().running() as fake, delivering(fake, host) as settle:
        fake.script("media", names(url))
        await settle(Translation(observations=[asking(observation)]))

        assert uri() in json.dumps(fake.observations)
        assert host.counters.value("media_inline", reason="unknown_answer") == 1


async def test_langfuse_sends_nobody_to_what_is_nearer_than_itself(observation: Make, host: Host) -> None:
    """As to where clouds keep their keys: its storage may be elsewhere, and whatever it says is not believed."""
    async with FakeLangfuse().running() as fake, delivering(fake, host) as settle:
        fake.always("media", names("http://169.254.169.254/latest/meta-data"))
        sent = Translation(observations=[asking(observation)])
        for _ in range(STORAGE_ATTEMPTS - 1):
            with pytest.raises(ConsumeError, match=r"169\.254\.169\.254.* is nearer to this machine than who named it"):
                await settle(sent)
        await settle(sent)

        assert uri() in json.dumps(fake.observations)
        assert host.counters.value("media_inline", reason="storage") == 1


@pytest.mark.parametrize("address", ["file:///etc/passwd", "unix:///run/x.sock", "gopher://x", "http://", "//x", "x"])
def test_a_destination_is_an_address_of_http(address: str) -> None:
    with pytest.raises(ValidationError, match="write it as http://host:port or https://host"):
        LangfuseConfig(public_key="pk-lf-x", secret_key="sk-lf-x", base_url=address)  # type: ignore[arg-type]


async def test_a_storage_that_stays_away_does_not_hold_up_the_traces(observation: Make, host: Host) -> None:
    async with FakeLangfuse().running() as fake, delivering(fake, host) as settle:
        fake.always("upload", Fault(503))
        sent = Translation(observations=[asking(observation)])
        for _ in range(STORAGE_ATTEMPTS - 1):
            with pytest.raises(ConsumeError, match="media storage at"):
                await settle(sent)
        await settle(sent)

        assert uri() in json.dumps(fake.observations)
        assert host.counters.value("media_inline", reason="storage") == 1
        tried = len(puts(fake))
        await settle(Translation(observations=[asking(observation, 2)]))
        assert len(fake.observations) == 2
        assert len(puts(fake)) == tried
