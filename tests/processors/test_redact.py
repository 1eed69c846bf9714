"""What is not to be kept is gone before anything is on disk; what may be kept stays as it is."""

import base64
import json
import random
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from pydantic import ValidationError

from otel_bridge.batch import Batch
from otel_bridge.component import Host
from otel_bridge.otlp_files import read_batches
from otel_bridge.processors.redact import RedactConfig, redact
from otel_bridge.processors.redact import walk as walking
from otel_bridge.processors.redact.texts import Ready
from otel_bridge.telemetry import Counters
from otel_bridge.translate import traces_of, translate
from tests.processors.planted import core, hidden, iban, luhn, secrets_of
from tests.processors.requests import SURFACES, pair, spans_of, trace_request, with_text_anywhere
from tests.values import pairs

CORPUS = Path(__file__).parents[1] / "corpus"
EVERYTHING = {"packs": ["secrets", "pii"]}


class Through:
    """What a batch becomes behind the processor."""

    def __init__(self, **settings: Any) -> None:
        self.config = RedactConfig.model_validate(settings or EVERYTHING)
        self.counters = Counters()

    async def __call__(self, batch: Batch) -> Batch:
        [one] = await self.all(batch)
        return one

    async def all(self, *batches: Batch) -> list[Batch]:
        """Of several, by one processor."""
        passed: list[Batch] = []

        async def consume(given: Batch) -> None:
            passed.append(given)

        host = Host("redact", Path("/nowhere"), counters=self.counters)
        async with asynccontextmanager(redact.open)(self.config, consume, host) as process:
            for batch in batches:
                await process(batch)
        return passed

    async def notes(self, text: str, tenants: str) -> list[str]:
        """What becomes of a text of each of these tenants, by one processor."""
        batches = []
        for tenant in tenants:
            request, span = trace_request(1)
            span.attributes.append(pair("note", text))
            batches.append(Batch.from_request(request, tenant=tenant))
        return [spans_of(one.request)[0].attributes[0].value.string_value for one in await self.all(*batches)]

    async def attribute(self, key: str, text: str, tenant: str = "default") -> str | None:
        request, span = trace_request(1)
        span.attributes.append(pair(key, text))
        [made] = spans_of((await self(Batch.from_request(request, tenant=tenant))).request)
        return made.attributes[0].value.string_value if made.attributes else None


@pytest.mark.parametrize("surface", SURFACES)
async def test_no_secret_of_any_format_is_left_at_any_place(surface: str) -> None:
    through = Through()
    for number, (name, secret) in enumerate(secrets_of(7).items()):
        batch = Batch.from_request(SURFACES[surface](number, secret))
        assert core(name, secret).encode() in batch.wire

        made = await through(batch)

        assert core(name, secret).encode() not in made.wire, (name, surface)
        assert made.item_count == batch.item_count
    assert through.counters.value("redacted", processor="redact") >= len(secrets_of(7))


@pytest.mark.parametrize("name", secrets_of(7))
async def test_a_secret_in_other_clothes_is_found_too(name: str) -> None:
    through = Through()
    secret = secrets_of(7)[name]
    for clothes, text in hidden(secret).items():
        made = await through.attribute("note", text)

        assert made is not None
        shown = made.replace("\u200b", "")
        if ";base64," in made:
            shown = base64.b64decode(made.partition(";base64,")[2]).decode("latin-1")
        assert core(name, secret) not in shown, clothes
        if clothes.startswith("json"):
            json.loads(made)  # is JSON as before


ORDINARY = [
    "Write a haiku about the number 42 and the year 2026.",
    "trace 0af7651916cd43dd8448eb211c80319c span b7ad6b7169203331",
    "id 550e8400-e29b-41d4-a716-446655440000 at 2026-11-28T06:41:57.123456Z",
    "1795000000123456789 ns, 1795000000123 ms, 1795000000 s",
    "It costs $4111.11, or 1,234,567.89 EUR, about 0.4111111111111111 of the sum",
    "order 4242424242424241 and order 1234567812345678, 16 digits each",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "def login(password: str, api_key=None): return check(password=password)",
    "The secret of good soup is time. The password is on the note.",
    "sk-learn-based-classification-of-documents and task-oriented-dialogue-systems",
    "git clone git@github.com:acme/app.git && npm install",
    "pip install torch==2.4.1 --index-url https://download.pytorch.org/whl/cu121",
    "version 10.4.3.1, build 20261128.1, chapter 3-14-159",
    "the basic understanding of bearer documentation in the law",
    "call me at noon, room 123-45, seats 12-34-56",
    "x = [0.12345678901234, -0.98765432109876, 1.4142135623731]",
    "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 20).decode(),
    base64.b64encode(bytes(reversed(range(256))) * 40).decode(),
    '{"model": "gpt-4o", "usage": {"input_tokens": 1111, "output_tokens": 23}, "id": "chatcmpl-AbC123dEf456"}',
    "os.environ['OPENAI_API_KEY'] or api_key=os.environ.get('KEY')",
    "total_tokens: 4096, max_tokens=1024, token_type: bearer",
    "AKIA is how these begin; ghp_ is how those begin; eyJ is base64 for a brace",
    "DE is Germany, GB82 is no account, FR76 neither",
]


async def test_ordinary_texts_stay_as_they_are() -> None:
    through = Through()
    changed = [text for text in ORDINARY if await through.attribute("gen_ai.prompt.0.content", text) != text]

    assert changed == []


async def test_of_recorded_payloads_not_one_in_a_hundred_texts_is_changed() -> None:
    through = Through()
    texts = changed = 0
    for path in sorted(CORPUS.rglob("*.pb")):
        for batch in read_batches(path, rejected=[]):
            made = await through(batch)
            texts += batch.wire.count(b"\n")  # about one for each message
            changed += made is not batch
            assert made.item_count == batch.item_count
    assert texts > 1000
    assert changed <= texts / 100


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (f"card {luhn('4', 16, random.Random(1))}", "card"),
        ("12 4111 1111 1111 1111 is it", "card"),
        ("3782-822463-10005", "card"),
        (f"{iban('GB', 'WEST12345698765432')} SOON", "iban"),
        ("DE89 3704 0044 0532 0130 00 please", "iban"),
        ("Ada <ada.l@example.org>", "email"),
        ("(415) 555-2671", "phone"),
        ("Authorization: Bearer abcdefgh12345678", "authorization"),
        ('the password: "hunter2"', "password"),
        ("the password is Environment2024", "password"),
        ("pwd=trueLove99", "password"),
        ("my password is correct7horse", "password"),
        ("https://u:p4ss@host/", "url_password"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_key"),
        ("AccountName=a;AccountKey=" + "Ab1+" * 21 + "Ab==;", "azure_key"),
    ],
)
async def test_what_has_the_right_sum_or_stands_in_its_context_is_found(text: str, rule: str) -> None:
    made = await Through().attribute("note", text)

    assert made is not None
    assert f"[REDACTED:{rule}]" in made


async def test_a_batch_without_anything_to_redact_passes_as_it_is() -> None:
    request, _ = trace_request(1)
    batch = Batch.from_request(request)

    assert await Through()(batch) is batch


async def test_ids_times_and_numbers_are_never_touched() -> None:
    request, span = trace_request(1)
    span.trace_id, span.span_id = b"4111111111111111", b"sk_live_"
    span.attributes.append(KeyValue(key="gen_ai.usage.input_tokens", value=AnyValue(int_value=4111111111111111)))
    batch = Batch.from_request(request)

    assert await Through()(batch) is batch


async def test_values_of_secret_names_go_whole_also_in_json() -> None:
    through = Through(keys=["internal.*", "customer_no"])

    assert await through.attribute("http.request.header.authorization", "whatever it is") == "[REDACTED:key]"
    assert await through.attribute("internal.note", "x") == "[REDACTED:key]"
    made = await through.attribute("tool.arguments", '{"customer_no": 17, "Password": {"a": 1}, "city": "Bonn"}')
    assert json.loads(made or "") == {
        "customer_no": "[REDACTED:key]",
        "Password": "[REDACTED:key]",
        "city": "Bonn",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("DB_PASSWORD", "db.user_password", "accessToken", "http.request.header.x_api_key", "clientSecret"),
        *("http.response.header.set_cookie", "X-Auth-Token", "refreshToken", "aws.secret_access_key", "Authorization"),
    ],
)
async def test_names_of_secrets_are_known_in_every_spelling(name: str) -> None:
    through = Through()

    assert await through.attribute(name, "correct horse") == "[REDACTED:key]"
    for said in (
        f'{{"{name}": "correct horse"}}',
        f'{{"{name}":"correct horse","more":"cut',
        f"{{'{name}': 'correct horse'}}",
    ):
        made = await through.attribute("note", said)
        assert made is not None
        assert "correct" not in made, said


@pytest.mark.parametrize("name", ["gen_ai.usage.input_tokens", "token", "is_secretary", "keyboard", "primary_key"])
async def test_names_that_only_sound_so_are_none(name: str) -> None:
    assert await Through().attribute(name, "something") == "something"


async def test_of_a_name_that_is_there_twice_both_values_go() -> None:
    made = await Through().attribute("note", '{"password": "hunter", "password": ""}')

    assert "hunter" not in (made or "")


async def test_where_a_path_can_not_be_followed_all_of_it_goes() -> None:
    through = Through(paths={"gen_ai.input.messages": ["[*].content"]})

    made = await through.attribute("gen_ai.input.messages", '[{"role": "user", "content": "my diagnosis is')
    assert made == "[REDACTED:path]"


@pytest.mark.parametrize(
    "said",
    [
        "ghp_" + "aB3" * 70,
        "/home/user/" + "deep/" * 40 + "ghp_" + "aB3" * 12,
        json.dumps({"file": base64.b64encode(b"key: ghp_" + b"aB3" * 12 + b" and so on, and on, and on").decode()}),
        "mail ad\u2061a@exam\u202dple.org",
        "mail ada%40exam\u200bple.org",
        "[" * 70 + '"ghp_' + "aB3" * 12 + '"' + "]" * 70,
    ],
)
async def test_what_hides_in_length_depth_or_between_letters_is_found(said: str) -> None:
    made = await Through().attribute("note", said)

    assert made is not None
    shown = made
    for word in re.findall(r"[0-9A-Za-z+/=]{40,}", made):
        shown += base64.b64decode(word + "=" * (-len(word) % 4)).decode("latin-1")
    assert "aB3aB3" not in shown
    assert "ada@exam" not in shown.replace("\u2061", "").replace("\u202d", "").replace("\u200b", "").replace("%40", "@")


async def test_schema_addresses_and_fields_that_nobody_knows_hide_nothing() -> None:
    request, span = trace_request(1)
    secret = "sk-ant-" + "a1B2c3D4" * 4
    request.resource_spans[0].schema_url = f"https://x/{secret}"
    unknown = span.SerializeToString() + b"\xfa\x3e" + bytes([len(secret)]) + secret.encode()  # field 1007
    request.resource_spans[0].scope_spans[0].spans[0].MergeFromString(unknown)
    batch = Batch.from_request(request)
    assert batch.wire.count(secret.encode()) == 2

    assert secret.encode() not in (await Through()(batch)).wire


async def test_paths_name_places_in_json_and_in_structured_values() -> None:
    through = Through(paths={"gen_ai.input.messages": ["[*].parts[*].content"]}, actions={"path": "drop"})
    said = '[{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]'

    made = await through.attribute("gen_ai.input.messages", said)

    assert json.loads(made or "") == [{"role": "user", "parts": [{"type": "text"}]}]
    request, span = trace_request(1)
    part = KeyValueList(values=[pair("type", "text"), pair("content", "hi")])
    parts = KeyValue(key="parts", value=AnyValue(array_value=ArrayValue(values=[AnyValue(kvlist_value=part)])))
    message = AnyValue(kvlist_value=KeyValueList(values=[pair("role", "user"), parts]))
    span.attributes.append(
        KeyValue(key="gen_ai.input.messages", value=AnyValue(array_value=ArrayValue(values=[message])))
    )
    wire = (await through(Batch.from_request(request))).wire
    assert b"hi" not in wire
    assert b"user" in wire


@pytest.mark.parametrize(
    ("path", "at"),
    [
        *(("mess*[*].content", 1), ("[*]content", 1), (".a", 1), ("a]", 1), ("['a']", 1), ("a..b", 2), ("a.*b", 2)),
        *(("a[0]b", 2), ("a[*]*", 2), ("a[-1]", 2), ("a.", 2), ("a[b]", 2), ("a[*", 2), ("a[0:2]", 2)),
    ],
)
def test_what_is_no_path_is_refused_with_where(path: str, at: int) -> None:
    """What it meant would stay as it is, and nobody would know."""
    with pytest.raises(ValidationError, match=f"no path from its character {at} on"):
        RedactConfig.model_validate({"paths": {"x": [path]}})


@pytest.mark.parametrize(
    "path", ["a.b", "a.*", "*.b", "*[1].b", "a.1.b", "a[1].b", "a[*][0]", "[*].b", "*", "x y.b-c_d"]
)
def test_what_is_a_path_is_read(path: str) -> None:
    assert [one.text for one in RedactConfig.model_validate({"paths": {"x": [path]}}).paths["x"]] == [path]


@pytest.mark.parametrize("rules", [{"packs": ["secrets"]}, {"packs": [], "paths": {"note": ["password"]}}])
async def test_numbers_beside_what_is_redacted_stay_as_they_are_written(rules: dict[str, Any]) -> None:
    said = '{"n":[123456789012345678901234,18446744073709551616,-0,1.50,1E5,0.1234567890123456789,7],"password":"p4ss"}'

    made = await Through(**rules).attribute("note", said)

    assert made is not None
    assert re.sub(r"\[REDACTED:[a-z]+\]", "p4ss", made) == said
    assert "REDACTED" in made


async def test_a_card_in_json_is_found_beside_numbers_of_any_kind() -> None:
    made = await Through(packs=["pii"]).attribute("note", '{"a": 4111111111111111, "b": 1.50, "c": "ada@example.org"}')

    assert made == '{"a":"[REDACTED:card]","b":1.50,"c":"[REDACTED:email]"}'


@pytest.mark.parametrize(
    ("action", "said"),
    [("mask", "a [REDACTED:email] b"), ("drop", "a  b"), ("hash", "a [email#"), ("pseudonymise", "a [email#")],
)
async def test_what_is_found_is_masked_hashed_dropped_or_given_another_name(action: str, said: str) -> None:
    through = Through(packs=["pii"], action=action, pseudonym_key="0123456789abcdef")

    made = await through.attribute("note", "a ada@example.org b")

    assert made is not None
    assert made.startswith(said)
    assert made == await through.attribute("note", "a ada@example.org b")


async def test_a_pseudonym_is_the_same_for_one_tenant_everywhere_and_another_for_another() -> None:
    settings = {"packs": ["pii"], "action": "pseudonymise", "pseudonym_key": "0123456789abcdef"}
    one, again, other_key = Through(**settings), Through(**settings), Through(**{**settings, "pseudonym_key": "f" * 16})

    made = await one.attribute("note", "ada@example.org", tenant="acme")

    assert made == await again.attribute("user.id", "ada@example.org", tenant="acme")
    assert made != await one.attribute("note", "ada@example.org", tenant="beta")
    assert made != await other_key.attribute("note", "ada@example.org", tenant="acme")


async def test_a_tenant_has_rules_of_its_own() -> None:
    through = Through(packs=["secrets"], tenants={"acme": {"content": "none"}, "beta": {"packs": []}})
    secret = "AKIA" + "ABCDEFGHIJKLMNOP"

    assert await through.attribute("gen_ai.prompt", "hello", tenant="default") == "hello"
    assert await through.attribute("gen_ai.prompt", "hello", tenant="acme") is None
    assert await through.attribute("note", secret, tenant="acme") == "[REDACTED:aws_access_key]"
    assert await through.attribute("note", secret, tenant="beta") == secret


async def test_tenants_with_the_same_rules_share_them_and_not_their_pseudonyms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each set takes two milliseconds to compile, and remembers tens of thousands of names and short texts."""
    made: list[Ready] = []
    monkeypatch.setattr(Ready, "of", lambda *given, of=Ready.of, **named: made.append(of(*given, **named)) or made[-1])
    same = {"packs": ["pii"], "keys": ["seat"], "paths": {"flight": ["seat.row"]}}
    tenants = {"a": same, "b": same, "c": {"packs": []}}
    through = Through(pseudonym_key="0" * 16, action="pseudonymise", tenants=tenants)

    said = await through.notes("ada@example.org", "abacde")
    assert len(made) == 3  # of a and b, of c, of all others
    assert said[0] == said[2] != said[1]
    assert all(one.startswith("[email#") for one in said[:3])
    assert set(said[3:]) == {"ada@example.org"}


async def test_the_same_patterns_in_another_order_are_other_rules() -> None:
    one, two = {"one": "AB", "two": "BC"}, {"two": "BC", "one": "AB"}
    through = Through(packs=[], tenants={"a": {"patterns": one}, "b": {"patterns": two}})

    assert await through.notes("ABC", "ab") == ["[REDACTED:one]C", "A[REDACTED:two]"]


@pytest.mark.parametrize("key", ["gen_ai.input.messages", "input.value", "llm.prompts.0.content", "ai.response.text"])
async def test_how_much_content_is_kept(key: str) -> None:
    text = "tell me about ada@example.org and " + "x" * 100

    assert await Through(content="none").attribute(key, text) is None
    assert await Through(content="metadata").attribute(key, text) == f"[{len(text)} characters]"
    cut = await Through(packs=["pii"], content="truncated", truncate_to=25).attribute(key, text)
    assert cut is not None
    assert cut.startswith("tell me about [REDACTED:e…")  # redacted first, or half an address would be left
    assert "ada@" not in cut
    assert await Through(content="truncated").attribute(key, "short") == "short"


@pytest.mark.parametrize(
    "key", ["gen_ai.request.model", "gen_ai.usage.input_tokens", "llm.model_name", "session.id", "gen_ai.prompt.0.role"]
)
async def test_without_content_a_trace_still_says_what_happened(key: str) -> None:
    assert await Through(content="none").attribute(key, "something") == "something"


CASES = Path(__file__).parents[1] / "translate" / "cases"
FORM = {"role", "type", "id", "name", "tool_call_id", "finish_reason", "index"}


def _content_of(shown: Any, key: str = "") -> list[Any]:
    """The texts that are more than the form of messages and calls."""
    if isinstance(shown, dict):
        return [found for name, item in shown.items() for found in _content_of(item, name)]
    if isinstance(shown, list):
        return [found for item in shown for found in _content_of(item, key)]
    return [shown] if isinstance(shown, str) and shown not in ("", "{}") and key not in FORM else []


async def test_without_content_no_dialect_has_an_input_or_an_output() -> None:
    """Whatever the instrumentation calls it: over every case of every dialect."""
    redactor, shown = Through(content="none"), {}
    for path in sorted(CASES.glob("*/*.json")):
        case = json.loads(path.read_text())
        request, span = trace_request(1)
        request.resource_spans[0].scope_spans[0].scope.name = case.get("scope", "test")
        span.name = case.get("name", "a span")
        span.attributes.extend(pairs(case.get("attrs", {})))
        for event in case.get("events", ()):
            told = pairs(event.get("attrs", {}))
            span.events.add(name=event["name"], time_unix_nano=span.start_time_unix_nano, attributes=told)
        [trace] = traces_of([await redactor(Batch.from_request(request))])
        for seen in translate(trace).observations:
            if said := _content_of([seen.input, seen.output]):
                shown[f"{path.parent.name}/{path.stem}"] = said
    assert shown == {}


async def test_what_is_allowed_stays() -> None:
    through = Through(packs=["pii"], allow=[r"[a-z]+@acme\.example"])

    assert await through.attribute("note", "help@acme.example") == "help@acme.example"
    assert await through.attribute("note", "ada@example.org") == "[REDACTED:email]"


async def test_own_patterns_and_their_groups() -> None:
    through = Through(patterns={"ticket": r"ticket (T-\d+)"}, actions={"ticket": "drop"})

    assert await through.attribute("note", "see ticket T-123 now") == "see ticket  now"


@pytest.mark.parametrize("said", ["T-123", '["T-123"]', '{"a": "T-123"}', '{"a": "\\u0054-123"}'])
async def test_an_own_pattern_may_ask_where_a_text_begins_and_ends(said: str) -> None:
    """Also of the texts in JSON, and however they are written."""
    made = await Through(packs=[], patterns={"ticket": r"^T-\d+$"}).attribute("note", said)

    assert made is not None
    assert "[REDACTED:ticket]" in made
    assert "123" not in made


async def test_escapes_of_json_hide_nothing() -> None:
    for said in (r'{"a": "https:\/\/u:p4ss@host\/"}', r'{"a": "mail \u0061da\u0040example.org"}'):
        made = await Through().attribute("note", said)

        assert made is not None
        assert "REDACTED" in made
        assert "p4ss" not in made


async def test_what_can_not_be_redacted_is_emptied_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails closed for a span, and never for a batch."""
    original = walking.Walk._span

    def fail_for_one(self: walking.Walk, span: Any) -> None:
        if span.span_id[-1] == 1:
            raise RuntimeError("a bug, with sk-live content in it")
        original(self, span)

    monkeypatch.setattr(walking.Walk, "_span", fail_for_one)
    request, bad = trace_request(0)
    bad.attributes.append(pair("note", "mail ada@example.org"))
    _, good = trace_request(1)
    request.resource_spans[0].scope_spans[0].spans.append(good)
    through = Through()

    first, second = spans_of((await through(Batch.from_request(request))).request)

    assert (first.name, list(first.attributes)) == ("redaction failed", [])
    assert (first.trace_id, first.start_time_unix_nano) == (bad.trace_id, bad.start_time_unix_nano)
    assert second == good
    assert through.counters.value("redacted", rule="failed") == 1


SECRET = "sk-ant-" + "a1B2c3D4" * 4
TOO_DEEP_TO_WRITE = '{"password": ' + "[" * 300 + f'"{SECRET}"' + "]" * 300 + "}"


@pytest.mark.parametrize(("text", "failed"), [(f"my {SECRET}", 0), (TOO_DEEP_TO_WRITE, 1)], ids=["found", "failing"])
async def test_wherever_otlp_knows_a_text_it_is_redacted_or_emptied(text: str, failed: int) -> None:
    """Nothing is answered with an error, or its sender would repeat it for ever."""
    given = dict(with_text_anywhere(text))
    assert len(given) > 60
    through = Through()

    made = await through.all(*map(Batch.from_request, given.values()))

    assert [path for path, one in zip(given, made, strict=True) if SECRET.encode() in one.wire] == []
    assert through.counters.value("redacted", rule="failed") == failed * len(given)


async def test_a_large_batch_in_parts_stays_in_parts() -> None:
    parts = []
    for number in range(3):
        request, span = trace_request(number)
        span.attributes.append(pair("note", "ada@example.org " + "x" * (100_000 if number else 10)))
        parts.append(Batch.from_request(request))
    whole = Batch.of_parts(parts, parts[0])

    made = await Through()(whole)

    assert len(made.parts) == 3
    assert b"ada@" not in made.wire
    assert b"ada@" in whole.wire  # it is read-only


def test_a_tenant_may_say_what_becomes_of_what_a_pattern_of_all_finds() -> None:
    """And have patterns of its own where all have other ones, with actions."""
    given = {
        "patterns": {"mine": "x+"},
        "actions": {"mine": "mask"},
        "tenants": {"acme": {"actions": {"mine": "drop"}}, "globex": {"patterns": {"other": "y+"}}},
    }
    config = RedactConfig.model_validate(given)

    assert config.of("acme").actions == {"mine": "drop"}
    assert set(config.of("globex").patterns) == {"other"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patterns": {"twice": r"(a)\1"}}, "no RE2 pattern"),
        ({"patterns": {"empty": "x*"}}, "finds what is empty"),
        ({"action": "pseudonymise"}, "needs a pseudonym_key"),
        ({"tenants": {"acme": {"actions": {"email": "pseudonymise"}}}}, "needs a pseudonym_key"),
        ({"actions": {"emial": "drop"}}, "no rule 'emial'"),
        ({"tenants": {"acme": {"actions": {"emial": "drop"}}}}, "tenants::acme::actions: there is no rule 'emial'"),
        (
            {"patterns": {"mine": "x"}, "tenants": {"acme": {"patterns": {}, "actions": {"mine": "drop"}}}},
            "tenants::acme::actions: there is no rule 'mine'",
        ),
        ({"paths": {"x": ["$.messages[*].content"]}}, r"without \$"),
        ({"packs": ["everything"]}, "secrets"),
    ],
)
def test_a_rule_that_can_not_be_meant_is_refused_when_it_is_read(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RedactConfig.model_validate(settings)


async def test_an_evil_text_takes_linear_time() -> None:
    through = Through(patterns={"bomb": "(a+)+$"})
    evil = "a" * 200_000 + "!"

    assert await through.attribute("note", evil) == evil


EVERY_RULE = Through()
leaves = st.text(max_size=20) | st.sampled_from(["x", '{"a": 1}', "2026-11-28", "café"])
trees = st.recursive(
    leaves.map(lambda text: AnyValue(string_value=text)) | st.integers(0, 2**40).map(lambda n: AnyValue(int_value=n)),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: AnyValue(array_value=ArrayValue(values=items)))
        | st.dictionaries(st.text(max_size=5), inner, max_size=3).map(
            lambda members: AnyValue(
                kvlist_value=KeyValueList(values=[KeyValue(key=key, value=item) for key, item in members.items()])
            )
        )
    ),
    max_leaves=8,
)


def _plant(value: AnyValue, text: str) -> None:
    """At the deepest place on the left."""
    match value.WhichOneof("value"):
        case "array_value" if value.array_value.values:
            _plant(value.array_value.values[0], text)
        case "kvlist_value" if value.kvlist_value.values:
            _plant(value.kvlist_value.values[0].value, text)
        case _:
            value.string_value = text


@given(trees, st.sampled_from(sorted(secrets_of(3).items())), st.text(alphabet=" .,;:!?\n", max_size=3))
async def test_a_secret_anywhere_in_any_value_does_not_survive(
    tree: AnyValue, named: tuple[str, str], around: str
) -> None:
    name, secret = named
    _plant(tree, f"{around} {secret} {around}")
    request, span = trace_request(1)
    span.attributes.append(KeyValue(key="any", value=tree))
    through = EVERY_RULE

    made = await through(Batch.from_request(request))

    assert core(name, secret).encode() not in made.wire
    assert (await through(Batch.from_request(request))).wire == made.wire
    assert await through(made) is made  # what is redacted has nothing more to redact


@given(trees)
async def test_what_has_no_secret_in_it_is_unchanged_byte_for_byte(tree: AnyValue) -> None:
    request, span = trace_request(1)
    span.attributes.append(KeyValue(key="any", value=tree))
    batch = Batch.from_request(request)
    before = batch.wire

    assert (await EVERY_RULE(batch)).wire == before
