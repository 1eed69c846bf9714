"""The variables of Langfuse's own SDK, and the names that people give them which it does not know."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

PUBLIC_KEY, SECRET_KEY, BASE_URL = "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "LANGFUSE_BASE_URL"
ENABLED, SAMPLE_RATE = "LANGFUSE_TRACING_ENABLED", "LANGFUSE_SAMPLE_RATE"
ENVIRONMENT, RELEASE = "LANGFUSE_TRACING_ENVIRONMENT", "LANGFUSE_RELEASE"
CLOUD = "https://cloud.langfuse.com"

MEANT = {
    "LANGFUSE_HOST": BASE_URL,
    "LANGFUSE_URL": BASE_URL,
    "LANGFUSE_BASEURL": BASE_URL,
    "LANGFUSE_ENDPOINT": BASE_URL,
    "LANGFUSE_TRACING": ENABLED,
    "LANGFUSE_ENABLED": ENABLED,
    "LANGFUSE_SAMPLING_RATE": SAMPLE_RATE,
    "LANGFUSE_ENVIRONMENT": ENVIRONMENT,
    "LANGFUSE_ENV": ENVIRONMENT,
}
"""A common name → the one that is meant; `LANGFUSE_HOST` is Langfuse's own old one."""

ALL = frozenset(MEANT.values())
"""What such names may mean."""

NO = ("false", "0", "no", "off")


@dataclass(slots=True, frozen=True)
class Variables:
    """An environment with common names taken for what they mean.

    taken: the right name → the one whose value it has.
    """

    environ: Mapping[str, str]
    taken: Mapping[str, str]

    def called(self, name: str) -> str:
        """The variable that a value was really read from."""
        return self.taken.get(name, name)

    def hint(self, read: Container[str]) -> str | None:
        """A line about those of them that somebody has read, by their right names; None where there are none."""
        said = ", ".join(f"{name} is taken for {meant}" for meant, name in self.taken.items() if meant in read)
        return f"{said}: write that, which Langfuse's own SDK knows too" if said else None


def as_meant(environ: Mapping[str, str]) -> Variables:
    """Where the right name is set as well, it alone counts."""
    taken: dict[str, str] = {}
    for name, meant in MEANT.items():
        if environ.get(name, "").strip() and not environ.get(meant, ""):
            taken.setdefault(meant, name)
    values = {meant: environ[name] for meant, name in taken.items()}
    return Variables({**environ, **values} if taken else environ, taken)


def resource(environ: Mapping[str, str]) -> dict[str, str]:
    """What they say of the process, as attributes of its resource."""
    said = {"langfuse.environment": ENVIRONMENT, "langfuse.release": RELEASE}
    return {key: value for key, name in said.items() if (value := environ.get(name))}


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Whether Langfuse is wanted."""
    return environ.get(ENABLED, "").strip().lower() not in NO
