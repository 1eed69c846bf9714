"""What secrets and personal data look like, and how a look-alike is told from one.

Each rule has a pattern (RE2: linear time, whatever it meets) and, where a pattern says too little, a check: a sum of
digits, a length. Formats are those that their makers publish. Patterns are of bytes, as a text is in UTF-8.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import re2

WORD = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
IN_NUMBERS = WORD | frozenset(b".$")
ANYTHING: frozenset[int] = frozenset()
ANYWHERE = b""  # as a hint: of a pattern nobody knows what it needs, as it may ask where a text begins
Check: TypeAlias = Callable[[bytes], bool]
Pick: TypeAlias = Callable[[bytes], Iterator[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One format.

    pattern: if it has a group, only that is redacted, and what is around it is the context.
    hint: a simple pattern that is in all that this one finds; where none is, nobody looks closer.
    check: whether what was found really is one.
    pick: where in what was found they are, if that may be more than one, or have more around it.
    edge: what may not stand before or after it, or it is part of something else.
    """

    name: str
    pattern: bytes
    hint: bytes
    check: Check | None = None
    pick: Pick | None = None
    edge: frozenset[int] = WORD


def options(*, latin: bool = False) -> "re2.Options":
    """How patterns are read; errors are raised, not written to standard error."""
    made = re2.Options()
    made.log_errors = False
    made.max_mem = 64 << 20
    if latin:
        made.encoding = re2.Options.Encoding.LATIN1
    return made


def _has_digit(found: bytes) -> bool:
    return any(48 <= byte <= 57 for byte in found)


def _is_random(found: bytes) -> bool:
    """Made by a machine: digits among letters, and no word after word."""
    digits = sum(48 <= byte <= 57 for byte in found)
    return digits >= 2 and len(set(found)) >= 10


def _is_mixed(found: bytes) -> bool:
    """No digest in hex, no path of words."""
    return _has_digit(found) and found.lower() != found != found.upper()


PLACES = (b"your", b"example", b"xxx", b"***", b"...", b"<", b"${", b"{{", b"os.env", b"process.env", b"[redacted")
NAMES = frozenset((b"none", b"null", b"true", b"false", b"string"))


def _is_value(found: bytes) -> bool:
    """Something that was given a value, and not a name, a type or a place for one."""
    low = found.lower()
    return _has_digit(found) and not low.startswith(PLACES) and low not in NAMES


def _digits(found: bytes) -> bytes:
    return bytes(byte for byte in found if 48 <= byte <= 57)


ISSUERS = (  # first digits, lengths
    (("4",), (13, 16, 19)),
    (tuple(str(n) for n in (*range(51, 56), *range(2221, 2721))), (16,)),
    (("34", "37"), (15,)),
    (("6011", "65", *(str(n) for n in range(644, 650))), (16, 19)),
    (("35",), (16,)),
    (("300", "301", "302", "303", "304", "305", "36", "38", "39"), (14, 16)),
    (("62",), (16, 17, 18, 19)),
)
"""Of cards: Visa, Mastercard, American Express, Discover, JCB, Diners, UnionPay (ISO/IEC 7812)."""

GROUP = re2.compile(rb"[0-9]+")
MOST_GROUPS = 6  # that a card's number is written in
SPACE = 32


def is_card(number: str) -> bool:
    """A number of an issuer of cards, of the right length, with the right sum (Luhn)."""
    if len(set(number)) < 2 or not any(number.startswith(first) and len(number) in sizes for first, sizes in ISSUERS):
        return False
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _cards(found: bytes) -> Iterator[tuple[int, int]]:
    """The cards among groups of digits: other numbers may stand beside them."""
    groups = [(group.start(), group.end()) for group in GROUP.finditer(found)]
    first = 0
    while first < len(groups):
        for last in range(min(first + MOST_GROUPS, len(groups)) - 1, first - 1, -1):
            start, end = groups[first][0], groups[last][1]
            if is_card(_digits(found[start:end]).decode()):
                yield start, end
                first = last
                break
        first += 1


IBAN_LENGTHS: Mapping[str, int] = {
    "AD": 24,
    "AE": 23,
    "AL": 28,
    "AT": 20,
    "AZ": 28,
    "BA": 20,
    "BE": 16,
    "BG": 22,
    "BH": 22,
    "BR": 29,
    "BY": 28,
    "CH": 21,
    "CR": 22,
    "CY": 28,
    "CZ": 24,
    "DE": 22,
    "DK": 18,
    "DO": 28,
    "EE": 20,
    "EG": 29,
    "ES": 24,
    "FI": 18,
    "FO": 18,
    "FR": 27,
    "GB": 22,
    "GE": 22,
    "GI": 23,
    "GL": 18,
    "GR": 27,
    "GT": 28,
    "HR": 21,
    "HU": 28,
    "IE": 22,
    "IL": 23,
    "IQ": 23,
    "IS": 26,
    "IT": 27,
    "JO": 30,
    "KW": 30,
    "KZ": 20,
    "LB": 28,
    "LC": 32,
    "LI": 21,
    "LT": 20,
    "LU": 20,
    "LV": 21,
    "LY": 25,
    "MC": 27,
    "MD": 24,
    "ME": 22,
    "MK": 19,
    "MR": 27,
    "MT": 31,
    "MU": 30,
    "NL": 18,
    "NO": 15,
    "PK": 24,
    "PL": 28,
    "PS": 29,
    "PT": 25,
    "QA": 29,
    "RO": 24,
    "RS": 22,
    "SA": 24,
    "SC": 31,
    "SE": 24,
    "SI": 19,
    "SK": 24,
    "SM": 27,
    "ST": 25,
    "SV": 28,
    "TL": 23,
    "TN": 24,
    "TR": 26,
    "UA": 29,
    "VA": 22,
    "VG": 24,
    "XK": 20,
}


def is_iban(number: str) -> bool:
    """Of the length that its country has, with the right check digits (ISO 13616)."""
    if IBAN_LENGTHS.get(number[:2]) != len(number):
        return False
    return int("".join(str(int(letter, 36)) for letter in number[4:] + number[:4])) % 97 == 1


def _ibans(found: bytes) -> Iterator[tuple[int, int]]:
    """As many letters and digits as the country has: a word may follow."""
    size = IBAN_LENGTHS.get(found[:2].decode(), 0)
    places = [place for place, byte in enumerate(found) if byte != SPACE]
    if 0 < size <= len(places) and is_iban("".join(chr(found[place]) for place in places[:size])):
        yield 0, places[size - 1] + 1


def _is_ssn(found: bytes) -> bool:
    area, group, serial = found.split(b"-")
    return area not in (b"000", b"666") and area < b"900" and group != b"00" and serial != b"0000"


def _is_phone(found: bytes) -> bool:
    return 8 <= len(_digits(found)) <= 15


def _is_mail(found: bytes) -> bool:
    return not found.startswith((b"git@", b"noreply@", b".")) and b".." not in found


TOKENS = (
    rb"(?:dop|doo|dor)_v1_[0-9a-f]{64}",  # DigitalOcean
    rb"dapi[0-9a-f]{32}",  # Databricks
    rb"gsk_[0-9A-Za-z]{40,}",  # Groq
    rb"xai-[0-9A-Za-z]{40,}",
    rb"pplx-[0-9A-Za-z]{40,}",  # Perplexity
    rb"r8_[0-9A-Za-z]{30,}",  # Replicate
    rb"hv[sbr]\.[0-9A-Za-z_-]{24,}",  # HashiCorp Vault
    rb"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",  # LangSmith
    rb"pcsk_[0-9A-Za-z_]{40,}",  # Pinecone
    rb"tvly-[0-9A-Za-z-]{20,}",  # Tavily
    rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",  # Shopify
    rb"NRAK-[0-9A-Z]{27}",  # New Relic
    rb"gl(?:sa|c)_[0-9A-Za-z_=]{32,}",  # Grafana
    rb"dckr_pat_[0-9A-Za-z_-]{27,}",  # Docker
    rb"lin_api_[0-9A-Za-z]{40}",  # Linear
    rb"ntn_[0-9A-Za-z]{40,}",  # Notion
    rb"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    rb"[0-9]{8,10}:AA[0-9A-Za-z_-]{33}",  # Telegram
    rb"hf_[0-9A-Za-z]{30,}",  # Hugging Face
    rb"npm_[0-9A-Za-z]{36}",
    rb"pypi-[0-9A-Za-z_-]{32,}",
)
"""Of services of which each has a beginning of its own."""

TOKEN_HINT = (
    rb"do[por]_v1_|dapi[0-9a-f]|gsk_|xai-|pplx-|r8_|hv[sbr]\.|lsv2_|pcsk_|tvly-|shp[acs]|NRAK-|gl(?:sa|c)_|dckr_pat_"
    rb"|lin_api_|ntn_|AGE-SECRET|[0-9]:AA|hf_|npm_|pypi-"
)
DIGITS = rb"[0-9][0-9 .()-]{5}[0-9 .()-]+[0-9]"

SECRETS: Sequence[Rule] = (
    Rule(
        "private_key",
        rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)"
        rb"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)",
        rb"PRIVATE KEY",
        edge=ANYTHING,
    ),
    Rule("aws_access_key", rb"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}", rb"AKIA|ASIA|ABIA|ACCA"),
    Rule(
        "aws_secret_key",
        rb"(?i:aws|secret)[^\r\n]{0,40}?[^0-9A-Za-z/+]([0-9A-Za-z/+]{40})(?:[^0-9A-Za-z/+=]|\z)",
        rb"(?i:aws|secret)",
        _is_mixed,
        edge=ANYTHING,
    ),
    Rule("github_token", rb"gh[pousr]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{22,255}", rb"gh[pousr]_|github_pat_"),
    Rule(
        "gitlab_token",
        rb"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|imt)-[0-9A-Za-z_.-]{20,}",
        rb"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|imt)-",
    ),
    Rule(
        "slack_token",
        rb"xox[abeoprs](?:\.xox[bp])?-[0-9A-Za-z-]{10,}|xapp-[0-9]-[0-9A-Za-z-]{20,}",
        rb"xox[abeoprs]|xapp-",
    ),
    Rule(
        "slack_webhook",
        rb"https://hooks\.slack\.com/(?:services|workflows|triggers)/[0-9A-Za-z+/]{20,}",
        rb"hooks\.slack\.com",
        edge=ANYTHING,
    ),
    Rule("anthropic_key", rb"sk-ant-[0-9A-Za-z_-]{20,}", rb"sk-ant-", _has_digit),
    Rule("langfuse_key", rb"sk-lf-[0-9A-Za-z-]{16,}", rb"sk-lf-", _has_digit),
    Rule("openai_key", rb"sk-[0-9A-Za-z_-]{20,}", rb"sk-[0-9A-Za-z]", _is_random),
    Rule("google_api_key", rb"AIza[0-9A-Za-z_-]{35}", rb"AIza"),
    Rule("google_token", rb"ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[0-9A-Za-z_-]{20,}", rb"ya29\.|GOCSPX-"),
    Rule(
        "stripe_key",
        rb"[srp]k_(?:live|test)_[0-9A-Za-z]{16,}|whsec_[0-9A-Za-z+/=]{24,}",
        rb"k_live_|k_test_|whsec_",
    ),
    Rule("twilio_key", rb"SK[0-9a-f]{32}", rb"SK[0-9a-f]"),
    Rule("sendgrid_key", rb"SG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{32,64}", rb"SG\.[0-9A-Za-z]"),
    Rule(
        "azure_key",
        rb"AccountKey=([0-9A-Za-z+/]{43,88}={0,2})|[?&]sig=([0-9A-Za-z%+/=]{30,})",
        rb"AccountKey=|[?&]sig=",
        edge=ANYTHING,
    ),
    Rule("jwt", rb"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}", rb"\.eyJ"),
    Rule("service_token", b"|".join(TOKENS), TOKEN_HINT),
    Rule(
        "url_password",
        rb"[a-zA-Z][0-9a-zA-Z+.-]{1,20}://[^\s/?#@:'\"<>]{0,256}:([^\s/?#@'\"<>]{1,256})@",
        rb"://[^\s/?#@'\"<>]+@",
        edge=ANYTHING,
    ),
    Rule(
        "authorization",
        rb"(?i:bearer|basic)\s+([0-9A-Za-z._~+/=-]{16,})",
        rb"(?i:bearer|basic)\s",
        _has_digit,
        edge=ANYTHING,
    ),
    Rule(
        "password",
        rb"(?i:passw(?:or)?d|passphrase|pwd|secret|(?:api|access|auth|private|account|secret)[_ -]?key"
        rb"|(?:access|auth|refresh|id|session|bearer)[_ -]?token)(?:\\?[\"'])?(?:\s*[:=]\s*|\s+is\s+)(?:\\?[\"'])?"
        rb"([^\s\"',;&}{<>\[\]()\\]{6,256})",
        rb"(?i:passw(?:or)?d|passphrase|pwd|secret|[a-z][_ -]?key|[a-z][_ -]?token)(?:\\?[\"'])?\s*(?:[:=]|is\s)",
        _is_value,
        edge=ANYTHING,
    ),
)

PERSONAL: Sequence[Rule] = (
    Rule(
        "email",
        rb"[0-9A-Za-z._%+-]{1,64}@[0-9A-Za-z](?:[0-9A-Za-z.-]{0,250}[0-9A-Za-z])?\.[A-Za-z]{2,24}",
        rb"[0-9A-Za-z_%+-]@[0-9A-Za-z]",
        _is_mail,
    ),
    Rule("card", rb"[0-9](?:[ -]?[0-9]){12,50}", DIGITS, pick=_cards, edge=IN_NUMBERS),
    Rule(
        "iban",
        rb"[A-Z]{2}[0-9]{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,4})?",
        rb"[A-Z][A-Z][0-9][0-9] ?[0-9A-Z]",
        pick=_ibans,
    ),
    Rule(
        "phone",
        rb"\+[1-9][0-9]{0,2}[ .()-]{0,2}[0-9](?:[ .()-]{0,2}[0-9]){6,12}"
        rb"|\([0-9]{3}\) ?[0-9]{3}[ .-][0-9]{4}|[0-9]{3}[.-][0-9]{3}[.-][0-9]{4}",
        DIGITS,
        _is_phone,
        edge=IN_NUMBERS,
    ),
    Rule(
        "ssn",
        rb"[0-9]{3}-[0-9]{2}-[0-9]{4}",
        rb"[0-9]{3}-[0-9]{2}-[0-9]{4}",
        _is_ssn,
        edge=IN_NUMBERS | frozenset(b"-"),
    ),
)

PACKS: Mapping[str, Sequence[Rule]] = {"secrets": SECRETS, "pii": PERSONAL}

SECRET_NAMES = frozenset(
    tuple(name.split())
    for name in (
        *("password", "passwd", "passphrase", "pwd", "secret", "apikey", "authorization", "cookie", "credentials"),
        *("api key", "access key", "private key", "secret key", "account key", "connection string", "connectionstring"),
        *("access token", "refresh token", "id token", "auth token", "api token", "session token", "bearer token"),
        *("csrf token", "security token", "secret token"),
    )
)
"""What the names of attributes, and of what stands in JSON, end with whose values the pack `secrets` takes whole."""

SECRET_NAME_HINT = (
    rb"(?i:passw|passphrase|pwd|secret|apikey|authorization|cookie|credentials|connection[_. -]?string"
    rb"|(?:api|access|private|account)[_. -]?key"
    rb"|(?:access|refresh|id|auth|api|session|bearer|csrf|security)[_. -]?token)"
)
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


def is_secret_name(name: str) -> bool:
    """Whether a name, in whatever spelling (`DB_PASSWORD`, `accessToken`, `set-cookie`), is one of a secret."""
    words = tuple(word.lower() for word in WORDS.findall(name[-100:]))
    return words[-1:] in SECRET_NAMES or words[-2:] in SECRET_NAMES
