"""What secrets and personal data look like, and what only looks like them."""

import base64
import random
from pathlib import Path

import pytest

from otel_bridge.otlp_files import read_batches
from tests.processors.planted import iban, luhn
from tests.processors.redact.through import Through

CORPUS = Path(__file__).parents[2] / "corpus"


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
