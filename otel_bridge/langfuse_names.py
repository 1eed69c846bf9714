"""The variables of Langfuse's own SDK, and the names that people give them which it does not know."""

from collections.abc import Mapping

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

NO = ("false", "0", "no", "off")


def as_meant(environ: Mapping[str, str]) -> tuple[Mapping[str, str], str | None]:
    """The environment with common names taken for what they mean, and a line about them; None where there are none.

    Where the right name is set as well, it alone counts.
    """
    taken = {
        name: meant for name, meant in MEANT.items() if environ.get(name, "").strip() and not environ.get(meant, "")
    }
    if not taken:
        return environ, None
    values = {meant: environ[name] for name, meant in reversed(taken.items())}
    said = ", ".join(f"{name} is taken for {meant}" for name, meant in taken.items())
    return {**environ, **values}, f"{said}: write that, which Langfuse's own SDK knows too"


def resource(environ: Mapping[str, str]) -> dict[str, str]:
    """What they say of the process, as attributes of its resource."""
    said = {"langfuse.environment": ENVIRONMENT, "langfuse.release": RELEASE}
    return {key: value for key, name in said.items() if (value := environ.get(name))}


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Whether Langfuse is wanted."""
    return environ.get(ENABLED, "").strip().lower() not in NO
