"""Images, sound and files within values: found where they stand as base64, replaced by Langfuse's reference to them.

Data URIs anywhere in a text, and base64 in the places where the known shapes of messages have it: OpenAI's
`input_audio`, `file` and `b64_json`, Anthropic's and LangChain's sources, Gemini's inline data, Bedrock's bytes,
OpenTelemetry's blob parts, the parts of MCP, Pydantic AI and the AI SDK.
"""

import binascii
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, TypeAlias

from otel_bridge.model import Json, Observation, TraceAttributes
from otel_bridge.plain_json import MAX_DEPTH

MAX_BYTES = 48 << 20  # of one medium
MIN_UNSIGNED = 64  # characters of base64 that nothing but their place and type tells from a word
FIELDS = ("input", "output", "metadata")
MARK = ";base64,"
DATA_URI = re.compile(
    r"data:([\w.+-]{1,60}/[\w.+-]{1,80})(?:;[\w.+-]{1,60}=[\w.+\"-]{0,100}){0,4};base64,([A-Za-z0-9+/]+={0,2})",
    re.ASCII,
)

TYPE_KEYS = ("mime_type", "mimeType", "media_type", "mediaType", "content_type", "contentType")
DATA_KEYS = frozenset({"data", "content", "bytes", "base64", "image", "file", "blob", "audio", "b64_json", "result"})
BASE64_KINDS = ("base64", "blob", "binary")
SIGNATURES = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi0": "application/pdf",
    "SUQz": "audio/mpeg",
    "T2dnUw": "audio/ogg",
    "ZkxhQw": "audio/flac",
}
"""How base64 begins that needs nobody to say what it is."""

OFFICE = "vnd.openxmlformats-officedocument"
ACCEPTED = frozenset(
    f"{kind}/{name}"
    for kind, names in {
        "image": ("png", "jpeg", "jpg", "webp", "gif", "svg+xml", "tiff", "bmp", "avif", "heic"),
        "audio": ("mpeg", "mp3", "wav", "ogg", "oga", "aac", "mp4", "flac", "opus", "webm"),
        "video": ("mp4", "webm", "ogg", "mpeg", "quicktime", "x-msvideo", "x-matroska"),
        "text": ("plain", "html", "css", "csv", "markdown", "x-python", "x-typescript"),
        "application": (
            *("javascript", "x-yaml", "pdf", "msword", "zip", "json", "xml", "octet-stream", "rtf", "x-ndjson"),
            *("gzip", "x-tar", "x-7z-compressed", "vnd.apache.parquet", "vnd.ms-excel"),
            *(f"{OFFICE}.{name}" for name in ("spreadsheetml.sheet", "wordprocessingml.document")),
            f"{OFFICE}.presentationml.presentation",
        ),
    }.items()
    for name in names
)
"""The content types that Langfuse's media API takes; it refuses all others."""

ALIASES = {
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-m4a": "audio/mp4",
    "image/x-png": "image/png",
}
FORMATS = {
    **{name: f"image/{name}" for name in ("png", "jpeg", "jpg", "gif", "webp")},
    **{name: f"audio/{name}" for name in ("wav", "mp3", "flac", "ogg", "opus", "aac")},
    **{name: f"video/{name}" for name in ("mp4", "webm")},
    "pdf": "application/pdf",
}
"""What OpenAI and Bedrock call the type of what stands beside it."""


@dataclass(slots=True, frozen=True)
class Medium:
    """What stood as base64; `digest` is the base64 of its SHA-256."""

    content_type: str
    content: bytes
    digest: str

    @property
    def id(self) -> str:
        """Langfuse's id of it, which anybody can derive: so the reference can be written first."""
        return self.digest.translate(URL_SAFE)[:22]

    @property
    def reference(self) -> str:
        """What Langfuse shows as the medium, anywhere in a text."""
        return f"@@@langfuseMedia:type={self.content_type}|id={self.id}|source=base64_data_uri@@@"


URL_SAFE = str.maketrans("+/", "-_")
STANDARD = str.maketrans("-_", "+/")

Link: TypeAlias = tuple[str, str | None, str, str]
"""Where a medium stands: trace id, observation id (None: in the trace's own fields), field, medium's id."""


@dataclass(slots=True)
class Lifted:
    """Observations with references in the place of their media.

    links: the media, each with the places where it stands.
    left: how many stand where they stood, by reason.
    """

    observations: list[Observation]
    media: dict[str, Medium] = field(default_factory=dict)
    links: dict[str, list[Link]] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)


def lift(observations: list[Observation], inline: Container[str] = ()) -> Lifted:
    """Take the media out of observations, but for those whose ids are in `inline`; what holds none stays the same."""
    lifted = Lifted([])
    traces: dict[int, TraceAttributes] = {}
    for observation in observations:
        trace = traces.get(id(observation.trace))
        if trace is None:
            trace = traces[id(observation.trace)] = _without(observation.trace, None, lifted, inline)
        seen = _without(observation, observation.id, lifted, inline)
        lifted.observations.append(seen if trace is seen.trace else replace(seen, trace=trace))
    return lifted


def _without(holder: Any, observation_id: str | None, lifted: Lifted, inline: Container[str]) -> Any:
    changed: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(holder, name)
        if value is None:
            continue
        search = Search(inline)
        found = search.within(value)
        if found is not value:
            changed[name] = found
        lifted.left.update(search.left)
        for medium in search.found:
            lifted.media[medium.id] = medium
            lifted.links.setdefault(medium.id, []).append((holder.trace_id, observation_id, name, medium.id))
    return replace(holder, **changed) if changed else holder


class Search:
    """The media of one value, and why others were left where they stood."""

    __slots__ = ("_inline", "found", "left")

    def __init__(self, inline: Container[str] = ()) -> None:
        self._inline = inline
        self.found: list[Medium] = []
        self.left: Counter[str] = Counter()

    def within(self, value: Json, content_type: str | None = None, depth: int = MAX_DEPTH) -> Json:
        """The value with references; itself, where nothing was found.

        content_type: what the object around it says of it.
        """
        if isinstance(value, str):
            return DATA_URI.sub(self._uri, value) if MARK in value else value
        if not depth:
            return value
        if isinstance(value, list):
            items = [self.within(item, None, depth - 1) for item in value]
            return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
        return self._in_object(value, content_type, depth) if isinstance(value, dict) else value

    def _in_object(self, value: dict[str, Any], around: str | None, depth: int) -> dict[str, Any]:
        said = next((kind for key in TYPE_KEYS if isinstance(kind := value.get(key), str)), None)
        if said is None and isinstance(form := value.get("format"), str):
            said = FORMATS.get(form)
        said = said or around
        changed: dict[str, Any] = {}
        for key, item in value.items():
            if isinstance(item, dict | list):
                found = self.within(item, said if key == "source" else None, depth - 1)
            elif not isinstance(item, str):
                continue
            elif key in DATA_KEYS and MARK not in item:
                found = self._raw(item, said, value.get("type") in BASE64_KINDS)
            else:
                found = self.within(item)
            if found is not item:
                changed[key] = found
        return value | changed if changed else value

    def _uri(self, match: re.Match[str]) -> str:
        return self._reference(match[2], match[1], match[0])

    def _raw(self, text: str, said: str | None, declared: bool) -> str:
        """Base64 that its place, its type and its beginning tell from text."""
        signed = next((kind for start, kind in SIGNATURES.items() if text.startswith(start)), None)
        if signed is None and (said is None or len(text) < MIN_UNSIGNED):
            return text
        if signed is None and said is not None and said.startswith(("text/", "application/json")) and not declared:
            return text
        return self._reference(text.translate(STANDARD), said or signed or "", text)

    def _reference(self, base64: str, content_type: str, as_it_was: str) -> str:
        try:
            content = binascii.a2b_base64(base64 + "=" * (-len(base64) % 4), strict_mode=True)
        except binascii.Error:
            return as_it_was  # cut off, or no base64 at all
        kind = ALIASES.get(content_type.lower(), content_type.lower())
        if content[8:12] == b"WAVE":
            kind = "audio/wav"
        if not content or kind not in ACCEPTED:
            self.left["content_type"] += 1
            return as_it_was
        if len(content) > MAX_BYTES:
            self.left["too_large"] += 1
            return as_it_was
        medium = Medium(kind, content, b64encode(sha256(content).digest()).decode())
        if medium.id in self._inline:
            return as_it_was
        self.found.append(medium)
        return medium.reference
