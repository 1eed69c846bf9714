"""Texts, and whatever holds texts, without what the rules find in them."""

import base64
import binascii
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import orjson
import re2

from otel_bridge.processors.redact.as_written import Number, read, write
from otel_bridge.processors.redact.rules import Rule, options

Standing: TypeAlias = tuple[int, int, bytes]
"""From where to where, and what stands there."""

Action: TypeAlias = Literal["mask", "hash", "pseudonymise", "drop"]

JSON_OPENERS = ("{", "[", '"')
MAX_NESTING = 8  # JSON in strings in JSON ...
MAX_DEPTH = 64
CARD_DIGITS = 13  # at least
LEAST_CARD = 10 ** (CARD_DIGITS - 1)
DIGEST = 16  # hex digits that stand for what was redacted
MEDIA = re2.compile(rb"data:[^;,\s]{0,100}(?:;[^;,\s]{1,60}){0,4};base64,([0-9A-Za-z+/_-]+={0,2})", options(latin=True))
BASE64 = re2.compile(rb"[0-9A-Za-z+/_-]{64,}={0,2}", options(latin=True))
LONG_BASE64 = 200  # characters from which on it is data, and nobody's key
PRINTABLE = re2.compile(rb"[\t\r\n -~]{10,}", options(latin=True))
INVISIBLE = re.compile(
    "[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0001\U000e0020-\U000e007f]"
)
HIDDEN = (
    rb"\xc2\xad|\xd8[\x80-\x85\x9c]|\xdb\x9d|\xdc\x8f|\xe1\xa0\x8e|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xaf]"
    rb"|\xef\xbb\xbf|\xef\xbf[\xb9-\xbb]|\xf3\xa0[\x80\x81]"  # characters that nobody sees
    rb"|\\[u/]|%[2-7][0-9A-Fa-f]"  # escaped letters, in JSON and in URLs
    rb"|;base64,"
)
"""What a secret may hide behind."""

MEMBER = re2.compile(
    rb"""\\*["']([0-9A-Za-z_. -]{1,80})\\*["']\s*:\s*"""
    rb"""(?:(\\*"(?:[^"\\]|\\.)*(?:\\*"|\z))|(\\*'(?:[^'\\]|\\.)*(?:\\*'|\z))|([^\s,}\]"'\[{\\][^\s,}\]]*))""",
    options(latin=True),
)
"""A member of JSON, or of what a program prints like it, also where that is cut off; with its name and its value."""
SAYS_NOTHING = frozenset((b"true", b"false", b"null", b"True", b"False", b"None"))
TOO_DEEP = "[REDACTED:too_deep]"

SHORT = 64  # characters: names, kinds and identifiers, which come again and again
MAX_REMEMBERED = 10_000


class Replacing:
    """What stands in the place of what was found."""

    def __init__(self, action: Action, actions: dict[str, Action]) -> None:
        self._action = action
        self._actions = actions

    def action(self, rule: str) -> Action:
        """What is done with what a rule finds."""
        return self._actions.get(rule, self._action)

    def of(self, rule: str, found: bytes, key: bytes) -> bytes:
        """The same for the same text: with `pseudonymise` only for one key, with `hash` everywhere."""
        match self.action(rule):
            case "drop":
                return b""
            case "hash":
                return b"[%b#%b]" % (rule.encode(), hashlib.sha256(found).hexdigest()[:DIGEST].encode())
            case "pseudonymise":
                told = hmac.digest(key, found, hashlib.sha256).hex()[:DIGEST]
                return b"[%b#%b]" % (rule.encode(), told.encode())
        return b"[REDACTED:%b]" % rule.encode()


@dataclass(frozen=True, slots=True)
class Ready:
    """Rules, compiled: for any number of requests and tenants, on any thread.

    hints: finds in one pass which rules, by their places, have to look closer.
    is_key: whether the value of a name, as of an attribute or in an object of JSON, is to go whole; gives the rule.
    is_allowed: whether something stays although a rule finds it.
    is_harmless: whether a short text has nothing in it.
    """

    rules: Sequence[tuple[Rule, "re2._Regexp[bytes]"]]
    hints: "re2.Set"
    replacing: Replacing
    is_key: Callable[[str], str | None]
    is_allowed: Callable[[bytes], bool]
    is_harmless: Callable[[str], bool]

    @classmethod
    def of(
        cls,
        rules: Sequence[Rule],
        replacing: Replacing,
        *,
        is_key: Callable[[str], str | None],
        key_hint: bytes,
        is_allowed: Callable[[bytes], bool],
    ) -> "Ready":
        """Compile; `key_hint` is a pattern of which something is in each name that `is_key` knows."""
        hints = re2.Set.SearchSet(options(latin=True))
        for hint in (*(rule.hint for rule in rules), HIDDEN, *((key_hint,) if key_hint else ())):
            hints.Add(hint)
        hints.Compile()

        @lru_cache(MAX_REMEMBERED)
        def is_harmless(text: str) -> bool:
            return not hints.Match(text.encode())

        compiled = [(rule, re2.compile(rule.pattern, options())) for rule in rules]
        return cls(compiled, hints, replacing, is_key, is_allowed, is_harmless)


class Texts:
    """Redacts the texts of one request; `counted` says how much each rule has found.

    key: what pseudonyms are made with.
    """

    def __init__(self, ready: Ready, key: bytes) -> None:
        self.counted: Counter[str] = Counter()
        self._rules = ready.rules
        self._hints = ready.hints
        self._replacing = ready.replacing
        self._key = key
        self._is_key = ready.is_key
        self._is_allowed = ready.is_allowed
        self._is_harmless = ready.is_harmless

    def may_hold(self, raw: bytes) -> bool:
        """False where there is nothing to redact for certain; of a request also as it is on the wire."""
        return bool(self._hints.Match(raw)) or BASE64.search(raw) is not None

    def text(self, text: str, nesting: int = 0) -> str:
        """A text without what the rules find in it; the same object where they find nothing."""
        if len(text) <= SHORT and self._is_harmless(text):
            return text
        raw = changed = text.encode()
        if len(raw) > SHORT and b" " not in raw and BASE64.fullmatch(raw):
            changed = self._base64(raw)
            if len(raw) >= LONG_BASE64:
                changed = self._plain(changed, in_base64=True)
                return text if changed == raw else changed.decode()
        is_json = nesting < MAX_NESTING and text.lstrip()[:1] in JSON_OPENERS
        if self._hints.Match(changed) or (is_json and BASE64.search(changed)):
            if is_json:
                changed = self._json(changed, nesting)
            changed = self._unhidden(self._plain(self._members_in(self._media(changed))))
        return text if changed == raw else changed.decode("utf-8", "replace")

    def json(self, value: Any, nesting: int = 0, depth: int = 0) -> Any:
        """Plain JSON without what the rules find in it; the same object where they find nothing."""
        if isinstance(value, Number) or type(value) is int:
            return self._number(value)
        if isinstance(value, str):
            return self.text(value, nesting)
        if depth >= MAX_DEPTH and isinstance(value, dict | list):
            return TOO_DEEP
        if isinstance(value, dict):
            made = dict(self._members(value, nesting, depth))
            same = len(made) == len(value) and all(key in value and made[key] is value[key] for key in made)
            return value if same else made
        if isinstance(value, list):
            items = [self.json(item, nesting, depth + 1) for item in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        return value

    def _number(self, value: int | Number) -> int | str:
        told = str(value)
        if len(told) < CARD_DIGITS or not told.isdigit() or (made := self.text(told, MAX_NESTING)) is told:
            return value
        return made

    def whole(self, rule: str, value: bytes) -> str | None:
        """What stands for a value that goes whole; None where nothing does."""
        self.counted[rule] += 1
        if self._replacing.action(rule) == "drop":
            return None
        return self._replacing.of(rule, value, self._key).decode()

    def binary(self, raw: bytes) -> bytes:
        """Bytes without what is found in their text: stars, so that all else stays in its place."""
        if not self.may_hold(raw):
            return raw
        try:
            return self.text(raw.decode()).encode()
        except UnicodeDecodeError:
            pass
        made = bytearray(raw)
        for run in PRINTABLE.finditer(raw):
            for start, end, name in self._found(run.group()):
                self.counted[name] += 1
                made[run.start() + start : run.start() + end] = b"*" * (end - start)
        return bytes(made)

    def _members(self, value: dict[str, Any], nesting: int, depth: int) -> Iterator[tuple[str, Any]]:
        for key, item in value.items():
            rule = self._is_key(key)
            if rule is not None and item not in (None, "", [], {}) and not isinstance(item, bool):
                stands = self.whole(rule, item.encode() if isinstance(item, str) else write(item))
                if stands is not None:
                    yield key, stands
                continue
            yield self.text(key, MAX_NESTING), self.json(item, nesting, depth + 1)

    def _json(self, raw: bytes, nesting: int) -> bytes:
        try:
            value = read(raw)
        except orjson.JSONDecodeError:
            return raw  # cut off, maybe: then it is read as text
        made = self.json(value, nesting + 1)
        return raw if made is value else write(made)

    def _plain(self, raw: bytes, *, in_base64: bool = False) -> bytes:
        for rule, pattern in self._looking_closer(raw):
            if in_base64 and not rule.edge:
                continue  # a context means nothing in what is no text
            found = list(self._of_rule(rule, pattern, raw))
            if found:
                self.counted[rule.name] += len(found)
            raw = _with(
                raw, [(start, end, self._replacing.of(rule.name, raw[start:end], self._key)) for start, end in found]
            )
        return raw

    def _members_in(self, raw: bytes) -> bytes:
        """Values of secret names in what could not be read as JSON, or says a name twice."""
        if b":" not in raw:
            return raw
        standing: list[Standing] = []
        for match in MEMBER.finditer(raw):
            rule = self._is_key(match.group(1).decode())
            if rule is None:
                continue
            start, end = next(match.span(group) for group in (2, 3, 4) if match.span(group)[0] >= 0)
            said = raw[start:end]
            bare = said.strip(b"\\\"'")
            if not bare or said in SAYS_NOTHING or bare.startswith((b"[REDACTED:", b"[%b#" % rule.encode())):
                continue
            opening = said[: len(said) - len(said.lstrip(b"\\\"'"))]
            standing.append((start, end, opening + (self.whole(rule, bare) or "").encode() + opening))
        return _with(raw, standing)

    def _found(self, raw: bytes) -> list[tuple[int, int, str]]:
        return [
            (start, end, rule.name)
            for rule, pattern in self._looking_closer(raw)
            for start, end in self._of_rule(rule, pattern, raw)
        ]

    def _looking_closer(self, raw: bytes) -> list[tuple[Rule, "re2._Regexp[bytes]"]]:
        hinted = self._hints.Match(raw)
        return [self._rules[place] for place in sorted(hinted) if place < len(self._rules)] if hinted else []

    def _of_rule(self, rule: Rule, pattern: "re2._Regexp[bytes]", raw: bytes) -> Iterator[tuple[int, int]]:
        for match in pattern.finditer(raw):
            group = match.lastindex or 0
            start, end = match.span(group)
            spans = (
                [(start, end)] if rule.pick is None else [(start + a, start + b) for a, b in rule.pick(raw[start:end])]
            )
            for first, last in spans:
                found = raw[first:last]
                if (
                    _stands_alone(raw, first, last, rule.edge)
                    and (rule.check is None or rule.check(found))
                    and not found.startswith(b"[REDACTED:")
                    and not self._is_allowed(found)
                ):
                    yield first, last

    def _media(self, raw: bytes) -> bytes:
        if b";base64," not in raw:
            return raw
        return _with(raw, [(*match.span(1), self._base64(match.group(1))) for match in MEDIA.finditer(raw)])

    def _base64(self, raw: bytes) -> bytes:
        """What is found in what was encoded; encoded again only where there is something."""
        url_safe = b"-" in raw or b"_" in raw
        try:
            held = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_" if url_safe else None, validate=True)
        except binascii.Error:
            return raw
        made = self.binary(held)
        if made is held or made == held:
            return raw
        return base64.urlsafe_b64encode(made) if url_safe else base64.b64encode(made)

    def _unhidden(self, raw: bytes) -> bytes:
        """A text is shown without what hid a secret in it: invisible characters, or the escapes of URLs."""
        text = INVISIBLE.sub("", raw.decode("utf-8", "replace"))
        seen = text.encode()
        for shown in (seen, unquote_to_bytes(raw), unquote_to_bytes(seen)):
            if shown != raw and self._found(shown):
                return self._plain(shown.decode("utf-8", "replace").encode())
        return raw


def _with(raw: bytes, standing: Sequence[Standing]) -> bytes:
    """The same with other bytes in these places, which are in order; the same object where there are none."""
    if not standing:
        return raw
    made: list[bytes] = []
    at = 0
    for start, end, stands in standing:
        made += (raw[at:start], stands)
        at = end
    return b"".join((*made, raw[at:]))


def _stands_alone(raw: bytes, start: int, end: int, edge: frozenset[int]) -> bool:
    if not edge:
        return True
    if start and raw[start - 1] in edge:
        return False
    if end == len(raw) or raw[end] not in edge:
        return True
    return raw[end] == ord(".") and not raw[end + 1 : end + 2].isdigit()  # a sentence ends
