"""Whatever a text holds, and however it is written, what the rules find in it goes; the rest stays as it is."""

import base64
import json
import re
from typing import Any

import pytest

from tests.processors.planted import core, hidden, secrets_of
from tests.processors.redact.through import Through


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


async def test_of_a_name_that_is_there_twice_both_values_go() -> None:
    made = await Through().attribute("note", '{"password": "hunter", "password": ""}')

    assert "hunter" not in (made or "")


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


async def test_an_evil_text_takes_linear_time() -> None:
    through = Through(patterns={"bomb": "(a+)+$"})
    evil = "a" * 200_000 + "!"

    assert await through.attribute("note", evil) == evil
