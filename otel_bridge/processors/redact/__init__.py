"""Redaction at the door: what is not to be kept is gone before anything is on disk.

Nothing after this processor sees more than it lets through: journal, dead letters, store, Langfuse, log. It is
stateless and always gives the same, so whoever is asked twice (a retry, a replay) says the same twice.
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from typing import Annotated, Literal

import orjson
import re2
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from pydantic import AfterValidator, Field, model_validator

from otel_bridge.batch import Batch, in_parts
from otel_bridge.component import Consume, Host, span_processor
from otel_bridge.config import Config, SecretStr
from otel_bridge.patterns import NamePattern, Pattern
from otel_bridge.processors.redact.content import is_content
from otel_bridge.processors.redact.paths import Path
from otel_bridge.processors.redact.rules import (
    ANYTHING,
    ANYWHERE,
    PACKS,
    SECRET_NAME_HINT,
    Rule,
    is_secret_name,
    options,
)
from otel_bridge.processors.redact.texts import Action, Ready, Replacing, Texts
from otel_bridge.processors.redact.walk import OnValue, Walk
from otel_bridge.tenants import TenantName
from otel_bridge.translate.span import plain

KEYS_RULE, PATHS_RULE, CONTENT_RULE = "key", "path", "content"


def _regex(text: str) -> str:
    try:
        re2.compile(text.encode(), options())
    except re2.error as error:
        said = error.args[0].decode("utf-8", "replace") if error.args else ""
        raise ValueError(f"this is no RE2 pattern ({said}): https://github.com/google/re2/wiki/Syntax") from None
    if re2.compile(text.encode(), options()).search(b"") is not None:
        raise ValueError("this pattern finds what is empty, so it would be everywhere")
    return text


Regex = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_regex)]
"""A regular expression of RE2; if it has a group, that is what is redacted."""


class RedactRulesConfig(Config):
    """What is redacted, and how.

    keys: attributes, and members of JSON, whose values go whole: names in upper or lower case, with `*`.
    paths: attribute → places in its JSON, as `[*].content`, whose values go whole.
    patterns: name → pattern, whose finds go.
    allow: patterns of what stays although a rule finds it: what it finds must fit as a whole.
    action: of all rules; `actions`: of one, by the name of the rule or pattern, or `key` and `path` for those above.
    content: how much of what people and models said is kept; `truncated` cuts it at `truncate_to`, after redaction.
    """

    packs: tuple[Literal["secrets", "pii"], ...] = ("secrets",)
    keys: tuple[NamePattern, ...] = ()
    paths: dict[str, tuple[Path, ...]] = Field(default_factory=dict)
    patterns: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")], Regex] = Field(default_factory=dict)
    allow: tuple[Regex, ...] = ()
    action: Action = "mask"
    actions: dict[str, Action] = Field(default_factory=dict)
    content: Literal["full", "truncated", "metadata", "none"] = "full"
    truncate_to: Annotated[int, Field(ge=0)] = 1000  # characters


class RedactConfig(RedactRulesConfig):
    """The rules of all, and what is different for some tenants; `pseudonym_key` makes pseudonyms, which nobody can
    trace back without it."""

    pseudonym_key: Annotated[SecretStr, Field(min_length=16)] | None = None
    tenants: dict[TenantName, RedactRulesConfig] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_key(self) -> "RedactConfig":
        asked = [self, *self.tenants.values()]
        if self.pseudonym_key is None and any("pseudonymise" in (of.action, *of.actions.values()) for of in asked):
            raise ValueError("pseudonymise needs a pseudonym_key, as ${env:PSEUDONYM_KEY}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "RedactConfig":
        packed = {KEYS_RULE, PATHS_RULE, *(rule.name for pack in PACKS.values() for rule in pack)}
        asked: list[tuple[str, RedactRulesConfig, RedactRulesConfig]] = [("", self, self)]
        asked += [(f"tenants::{name}::", own, self.of(name)) for name, own in self.tenants.items()]
        for at, own, whole in asked:
            known = {*packed, *whole.patterns}  # a tenant's actions may be of patterns of all
            if unknown := sorted(set(own.actions) - known):
                there = ", ".join(sorted(known))
                raise ValueError(f"{at}actions: there is no rule {unknown[0]!r}, there are {there}")
        return self

    def of(self, tenant: str) -> RedactRulesConfig:
        """The rules of a tenant: what it does not say is as for all."""
        own = self.tenants.get(tenant)
        if own is None:
            return self
        return self.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


@span_processor(RedactConfig)
async def redact(config: RedactConfig, consume: Consume, host: Host) -> AsyncIterator[Consume]:
    """Secrets, personal data and content out of spans, logs and metrics, before anything is on disk."""

    shared: dict[str, Redactor] = {}  # by many tenants, if they have the same rules in the same order

    @lru_cache(1000)
    def of_tenant(tenant: str) -> tuple[Redactor, bytes]:
        rules, key = config.of(tenant), _key_of(config.pseudonym_key, tenant)
        same = rules.model_dump_json(exclude={"tenants"})
        if same not in shared:
            shared[same] = Redactor(rules)
        return shared[same], key

    async def redacted(batch: Batch) -> None:
        (redactor, key), counted = of_tenant(batch.tenant), Counter[str]()
        made = await in_parts(batch, lambda part: redactor.redacted(part, key, counted))
        for rule, found in counted.items():
            host.counters.add("redacted", found, processor=host.id, rule=rule)
        await consume(made)

    yield redacted


class Redactor:
    """Rules, ready to be used; `key` makes pseudonyms, and is its tenant's."""

    def __init__(self, rules: RedactRulesConfig) -> None:
        own = [Rule(name, text.encode(), ANYWHERE, edge=ANYTHING) for name, text in rules.patterns.items()]
        self._secrets = "secrets" in rules.packs
        self._named = [Pattern(name.lower()) for name in rules.keys if "*" in name]
        self._names = frozenset(name.lower() for name in rules.keys if "*" not in name)
        self._allowed = [re2.compile(text.encode(), options()) for text in rules.allow]
        self._given = rules
        self._paths: Mapping[str, tuple[Path, ...]] = rules.paths
        self._takes = lru_cache(20_000)(self._is_named)
        self.ready = Ready.of(
            [*own, *(rule for pack in rules.packs for rule in PACKS[pack])],
            Replacing(rules.action, rules.actions),
            is_key=self._takes,
            key_hint=b"|".join(
                [b"(?i:%b)" % _longest(name).encode() for name in rules.keys]
                + ([SECRET_NAME_HINT] if self._secrets else [])
            ),
            is_allowed=self._is_allowed,
        )
        self._is_plain = lru_cache(20_000)(self._has_plain_name)

    def redacted(self, batch: Batch, key: bytes, counted: Counter[str]) -> Batch:
        """The batch without what the rules find, which is counted; the same one where they find nothing."""
        texts = Texts(self.ready, key)
        if self._given.content == "full" and not self._paths and not texts.may_hold(batch.wire):
            return batch
        request = batch.editable()
        size = request.ByteSize()
        request.DiscardUnknownFields()  # what nobody knows, nobody can redact
        walk = Walk(texts, self._is_plain, self._first(texts), self._body(texts))
        walk.changed = request.ByteSize() != size
        walk.request(request)
        if walk.failed:
            counted["failed"] += walk.failed
        counted.update(texts.counted)
        if not walk.changed:
            return batch
        return Batch.from_request(request, tenant=batch.tenant)

    def _has_plain_name(self, key: str) -> bool:
        return (
            self._takes(key) is None
            and key not in self._paths
            and (self._given.content == "full" or not is_content(key))
            and not self.ready.hints.Match(key.encode())
        )

    def _is_named(self, key: str) -> str | None:
        if self._secrets and is_secret_name(key):
            return KEYS_RULE
        low = key.lower()
        for name in (low, re.split(r"[./:]", low)[-1]):
            if name in self._names or any(pattern.fits(name) for pattern in self._named):
                return KEYS_RULE
        return None

    def _is_allowed(self, found: bytes) -> bool:
        return any(pattern.fullmatch(found) for pattern in self._allowed)

    def _first(self, texts: Texts) -> OnValue:
        def first(pair: KeyValue, walk: Walk) -> bool | None:
            value = pair.value
            kind = value.WhichOneof("value")
            if kind is None or kind == "bool_value":
                return None
            if (rule := self._takes(pair.key)) is not None and not self._is_allowed(value.string_value.encode()):
                return _stand(value, texts.whole(rule, _bytes(value)))
            for place in self._paths.get(pair.key, ()):
                walk.changed |= place.take(value, lambda found: texts.whole(PATHS_RULE, found))
            if self._given.content != "full" and is_content(pair.key):
                return self._content(value, texts)
            return None

        return first

    def _body(self, texts: Texts) -> Callable[[LogRecord], bool]:
        def body(record: LogRecord) -> bool:
            if self._given.content == "full" or record.body.WhichOneof("value") is None:
                return False
            if record.body.string_value and record.body.string_value == record.event_name:
                return False
            if self._content(record.body, texts) is False:
                record.ClearField("body")
            return True

        return body

    def _content(self, value: AnyValue, texts: Texts) -> bool:
        """Content as the level wants it; False where nothing of it is kept."""
        texts.counted[CONTENT_RULE] += 1
        told = value.string_value or _text(value)
        match self._given.content:
            case "none":
                return False
            case "metadata":
                value.string_value = f"[{len(told)} characters]"
            case "truncated":
                clean = texts.text(told)  # first, or what was cut through would not be found
                cut = clean[: self._given.truncate_to]
                value.string_value = (
                    clean if len(clean) <= self._given.truncate_to else f"{cut}… [of {len(told)} characters]"
                )
        return True


def _stand(value: AnyValue, stands: str | None) -> bool:
    if stands is None:
        return False
    value.string_value = stands
    return True


def _text(value: AnyValue) -> str:
    return orjson.dumps(plain(value), option=orjson.OPT_NON_STR_KEYS).decode()


def _bytes(value: AnyValue) -> bytes:
    return value.string_value.encode() or value.SerializeToString(deterministic=True)


def _longest(name: str) -> str:
    """The longest part of a name that stands for itself, as something to look for."""
    return re.escape(max(name.split("*"), key=len))


def _key_of(secret: SecretStr | None, tenant: str) -> bytes:
    """Of each tenant another, so that nobody finds one's people in another's traces."""
    given = b"" if secret is None else secret.get_secret_value().encode()
    return hmac.digest(given, tenant.encode(), hashlib.sha256)
