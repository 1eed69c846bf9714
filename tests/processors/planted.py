"""Secrets of every format, made up: what each looks like, and what its rule is called."""

import base64
import random

ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
HEX = "0123456789abcdef"


def _some(rng: random.Random, letters: str, count: int) -> str:
    """Random, and with digits in it, as machines make them."""
    made = "".join(rng.choice(letters) for _ in range(count - 4))
    return (
        made[: count // 2]
        + "7a3Z"[: 4 if letters == ALNUM else 0]
        + made[count // 2 :]
        + ("" if letters == ALNUM else "".join(rng.choice(letters) for _ in range(4)))
    )


def luhn(start: str, length: int, rng: random.Random) -> str:
    """A card's number with the right last digit."""
    body = start + "".join(rng.choice("0123456789") for _ in range(length - len(start) - 1))
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 - place % 2)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def iban(country: str, account: str) -> str:
    """With the right check digits."""
    number = int("".join(str(int(letter, 36)) for letter in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02d}{account}"


def secrets_of(seed: int) -> dict[str, str]:
    """One of each format, different for each seed."""
    rng = random.Random(seed)

    def some(count: int, letters: str = ALNUM) -> str:
        return _some(rng, letters, count)

    def digits(count: int) -> str:
        return "".join(rng.choice("123456789") for _ in range(count))

    card = luhn("4", 16, rng)
    return {
        "aws_access_key": "AKIA" + some(16, UPPER),
        "github_token": "ghp_" + some(36),
        "github_pat": "github_pat_" + some(22) + "_" + some(59),
        "gitlab_token": "glpat-" + some(20),
        "slack_token": f"xoxb-{digits(12)}-{digits(12)}-{some(24)}",
        "slack_webhook": f"https://hooks.slack.com/services/T{some(8, UPPER)}/B{some(8, UPPER)}/{some(24)}",
        "openai_key": "sk-proj-" + some(48),
        "old_openai_key": "sk-" + some(48),
        "anthropic_key": "sk-ant-api03-" + some(93),
        "langfuse_key": f"sk-lf-{some(8, HEX)}-{some(4, HEX)}-{some(4, HEX)}-{some(4, HEX)}-{digits(12)}",
        "google_api_key": "AIza" + some(35),
        "stripe_key": "sk_live_" + some(24),
        "twilio_key": "SK" + some(32, HEX),
        "sendgrid_key": f"SG.{some(22)}.{some(43)}",
        "npm_token": "npm_" + some(36),
        "pypi_token": "pypi-AgEIcHlwaS5vcmc" + some(60),
        "huggingface_token": "hf_" + some(34),
        "jwt": f"eyJhbGciOiJIUzI1NiJ9.eyJ{some(30)}.{some(43)}",
        "private_key": f"-----BEGIN RSA PRIVATE KEY-----\n{some(64)}\n{some(64)}\n-----END RSA PRIVATE KEY-----",
        "url_password": f"postgres://app:{some(14)}@db.internal:5432/app",
        "card": " ".join(card[n : n + 4] for n in range(0, 16, 4)),
        "iban": iban("DE", digits(18)),
        "email": f"{some(9).lower()}.{some(5).lower()}@mail.example.org",
        "phone": f"+4930{digits(8)}",
        "ssn": f"{rng.randint(100, 600)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}",
    }


def core(name: str, secret: str) -> str:
    """What of a secret must be nowhere any more: of a URL its password, of a key in lines its first line."""
    if name == "url_password":
        return secret.partition("app:")[2].partition("@")[0]
    if name == "private_key":
        return secret.split("\n")[1]
    return secret


def hidden(secret: str) -> dict[str, str]:
    """The same secret in other clothes."""
    return {
        "invisible": secret[:6] + "\u200b" + secret[6:],
        "json": '{"a": ["x", {"b": "' + secret.replace("\n", "\\n") + '"}]}',
        "json in json": '{"a": "{\\"b\\": \\"' + secret.replace("\n", "\\\\n") + '\\"}"}',
        "text file": "data:text/plain;base64," + base64.b64encode(f"key: {secret}".encode()).decode(),
        "image": "data:image/png;base64,"
        + base64.b64encode(
            b"\x89PNG\r\n\x1a\n\x00\xff\xfe" * 9 + b"tEXt" + b"comment: " + secret.encode() + b"\x00\xff\xfe"
        ).decode(),
    }
