"""Which rules there are for whom, and what a batch becomes by them."""

from typing import Any

import pytest
from pydantic import ValidationError

from otel_bridge.batch import Batch
from otel_bridge.processors.redact import RedactConfig
from otel_bridge.processors.redact.texts import Ready
from tests.processors.redact.through import Through
from tests.processors.requests import pair, trace_request


async def test_a_batch_without_anything_to_redact_passes_as_it_is() -> None:
    request, _ = trace_request(1)
    batch = Batch.from_request(request)

    assert await Through()(batch) is batch


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


async def test_what_is_allowed_stays() -> None:
    through = Through(packs=["pii"], allow=[r"[a-z]+@acme\.example"])

    assert await through.attribute("note", "help@acme.example") == "help@acme.example"
    assert await through.attribute("note", "ada@example.org") == "[REDACTED:email]"


async def test_own_patterns_and_their_groups() -> None:
    through = Through(patterns={"ticket": r"ticket (T-\d+)"}, actions={"ticket": "drop"})

    assert await through.attribute("note", "see ticket T-123 now") == "see ticket  now"


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
