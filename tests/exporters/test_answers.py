"""The answer table, row by row."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.answers import error, excerpt, retry_after_s
from otel_bridge.errors import BusyError, ParkedError, RefusedError, RetryableError, TooLargeError

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 207])
@pytest.mark.parametrize("body", [b"", b'{"id":"job"}', b"\x0a\x02\xff\xfe", b"garbage"])
def test_success_whatever_the_body(status: int, body: bytes) -> None:
    assert error(status, JSON, body, who="x") is None
    assert error(status, {}, body, who="x") is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, RetryableError) for status in (408, 409, 425, 500, 502, 503, 504, 520, 524, 527, 599)),
        (429, BusyError),
        *((status, RefusedError) for status in (400, 422)),
        (413, TooLargeError),
        *((status, ParkedError) for status in (401, 402, 403, 404, 405, 407, 410, 415, 421, 431, 451, 501, 511)),
        *((status, ParkedError) for status in (300, 301, 302, 303, 307, 308)),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[Exception]) -> None:
    assert type(error(status, JSON, b"why", who="https://host")) is kind


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (200, {"Content-Type": "text/html; charset=utf-8"}, "html_response"),
        (302, {"Location": "https://sso"}, "redirect"),
        (401, {}, "unauthorized"),
        (403, {}, "forbidden"),
        (404, {}, "not_found"),
        (405, {}, "method_not_allowed"),
        (418, {}, "http_418"),
    ],
)
def test_parked_says_why_in_a_word(status: int, headers: dict[str, str], reason: str) -> None:
    parked = error(status, headers, b"<html>", who="https://host")
    assert isinstance(parked, ParkedError)
    assert parked.reason == reason
    assert str(parked).startswith(f"https://host answered {status}: <html>")


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        (None, None),
        ("7", 7),
        (" 7 ", 7),
        ("0", 0),
        ("-1", None),
        ("abc", None),
        ("", None),
        ("1.5", None),
        ("99999999", 99_999_999),
        ("9" * 5000, None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 -99999999999999999999", None),
    ],
)
def test_retry_after(said: str | None, wait_s: float | None) -> None:
    assert retry_after_s(said) == wait_s


@pytest.mark.parametrize("ahead_s", [60, -3600])
@pytest.mark.parametrize("zone", [" GMT", ""])
def test_retry_after_as_a_date(ahead_s: int, zone: str) -> None:
    said = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_s), usegmt=True)
    assert retry_after_s(said.removesuffix(" GMT") + zone) == pytest.approx(ahead_s, abs=5)


@given(st.text(st.characters(codec="latin-1"), max_size=40))
def test_any_retry_after_is_read_without_raising(said: str) -> None:
    wait_s = retry_after_s(said)
    assert wait_s is None or isfinite(wait_s)


def test_429_carries_the_wait() -> None:
    limited = error(429, {"Retry-After": "7"}, b"", who="x")
    assert isinstance(limited, RetryableError)
    assert limited.retry_after_s == 7


@given(st.binary(max_size=2000))
def test_an_excerpt_is_short_and_does_nothing(body: bytes) -> None:
    shown = excerpt(body)
    assert shown.isprintable()
    assert len(shown) <= 200 * 10 + 1
    assert shown.endswith("…") or len(body.decode(errors="replace")) <= 200


def test_an_excerpt_says_that_there_is_more() -> None:
    assert (excerpt("a" * 200), excerpt(b"a" * 201)) == ("a" * 200, "a" * 200 + "…")


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_of_an_answer_that_says_nothing_it_is_the_status_alone(body: bytes) -> None:
    assert str(error(503, {}, body, who="x")) == "x answered 503"
