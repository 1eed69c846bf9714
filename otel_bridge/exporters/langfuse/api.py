"""What every request of ours to Langfuse's API says, and what its answers say of the server and of the project, whoever
asks."""

from dataclasses import dataclass
from urllib.parse import quote

import orjson

from otel_bridge import __version__
from otel_bridge.answers import excerpt
from otel_bridge.errors import ParkedError
from otel_bridge.exporters.langfuse import versions
from otel_bridge.exporters.langfuse.versions import Version

HEALTH = "/api/public/health"
PROJECTS = "/api/public/projects"
OTLP_PATH = "/api/public/otel/v1/traces"


def headers(public_key: str) -> dict[str, str]:
    """Who sends, for which project; the keys themselves come beside it."""
    return {
        "x-langfuse-sdk-name": "otel-bridge",
        "x-langfuse-sdk-version": __version__,
        "x-langfuse-public-key": public_key,
    }


def otlp_headers(version: Version) -> dict[str, str]:
    """Where a server of version 4 still writes the old tables too, this asks for the new ones alone."""
    return {"x-langfuse-ingestion-version": "4"} if version >= versions.V4 else {}


def server_version(health: bytes, url: str) -> Version:
    """The version that a server's health names; `url` is where that was asked.

    Raises:
        ParkedError: it names none.
    """
    try:
        told = orjson.loads(health)["version"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        told = None
    version = versions.parse(told) if isinstance(told, str) else None
    if version is None:
        raise ParkedError(f"{url} names no version ({excerpt(health, 80)}): is this Langfuse?", "not_langfuse")
    return version


@dataclass(slots=True, frozen=True)
class Project:
    """The project that keys belong to."""

    id: str
    name: str

    def trace_url(self, base_url: str) -> str:
        """Where Langfuse shows a trace of it, with `{traceId}` for its id."""
        return f"{base_url}/project/{quote(self.id, safe='')}/traces/{{traceId}}"


def project(told: bytes) -> Project | None:
    """The project that an answer names; None where it names none."""
    try:
        found = orjson.loads(told)["data"][0]
        of = (found["id"], found["name"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return Project(*map(excerpt, of)) if all(isinstance(one, str) and one for one in of) else None
