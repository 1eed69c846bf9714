"""What is written of a call, and how: as YAML, JSON, or one line of JSON."""

import io
import json
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from otel_bridge.model import Level, Observation
from otel_bridge.moments import iso
from otel_bridge.plain_json import dump

if TYPE_CHECKING:
    from ruamel.yaml.representer import SafeRepresenter

Detail: TypeAlias = Literal["minimal", "standard", "full"]
Document: TypeAlias = dict[str, Any]

PLAIN_WORDS = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[ ./-][A-Za-z0-9_]+)*")
OTHER_THAN_TEXT = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")  # for some reader of YAML
HARMLESS = dict.fromkeys(map(ord, "\n\t\xa0\u2007\u202f\u3000\u200c\u200d"))  # spaces, and what joins emojis
MOST_PLAIN = 80  # characters


def document(seen: Observation, *, number: int, agent: str, run_id: str, level: Detail) -> Document:
    """A call as it is written. Without content at `minimal`; what nobody said is left out.

    Latencies are in milliseconds, costs in US dollars.
    """
    told: Document = {
        "call": number,
        "run_id": run_id,
        "agent": agent,
        "name": seen.name,
        "type": seen.type.value,
        "trace_id": seen.trace_id,
        "observation_id": seen.id,
        "parent_observation_id": seen.parent_id,
        "started": iso(seen.start_ns),
        "ended": iso(seen.end_ns),
        "latency_ms": milliseconds(seen.start_ns, seen.end_ns),
        "first_token_ms": milliseconds(seen.start_ns, seen.completion_start_ns),
        "ok": seen.level is not Level.ERROR,
        "model": seen.model,
        "tokens": seen.usage,
        "cost": seen.cost,
    }
    if level != "minimal":
        told |= {
            "error": seen.status_message,
            "model_parameters": seen.model_parameters,
            "prompt": {"name": seen.prompt_name, "version": seen.prompt_version} if seen.prompt_name else None,
            "input": seen.input,
            "output": seen.output,
        }
    if level == "full":
        trace = seen.trace
        told |= {
            "trace_name": trace.name,
            "session_id": trace.session_id,
            "user_id": trace.user_id,
            "tags": trace.tags or None,
            "environment": trace.environment,
            "release": trace.release,
            "version": seen.version or trace.version,
            "metadata": seen.metadata or None,
            "scope": {"name": seen.scope_name, "version": seen.scope_version} if seen.scope_name else None,
            "resource": seen.resource or None,
        }
    return {key: value for key, value in told.items() if value is not None}


def milliseconds(start_ns: int, end_ns: int | None) -> float | None:
    """How long it took, to the microsecond."""
    return None if end_ns is None else round((end_ns - start_ns) / 1e6, 3)


def encoded(told: Document, suffix: str) -> bytes:
    """A document as the text of a file with this suffix: `yaml`, `json` or `jsonl`, which say the same."""
    plain = json.loads(dump(told))  # whatever a trace holds becomes JSON first: no NaN, no object, no depth without end
    if suffix == "yaml":
        out = io.StringIO()
        _yaml().dump(plain, out)
        return _shown(out.getvalue(), _in_yaml).encode()
    text = json.dumps(plain, ensure_ascii=False, indent=2 if suffix == "json" else None)
    return _shown(text, _in_json).encode() + b"\n"


def _only_shows(text: str) -> bool:
    """Whether nothing in it acts on a terminal or an editor, as control characters and bidi marks do."""
    return text.translate(HARMLESS).isprintable()


def _shown(text: str, escaped: Callable[[str], str]) -> str:
    """With everything escaped that acts, all of which is in quotes."""
    return text if _only_shows(text) else "".join(c if _only_shows(c) else escaped(c) for c in text)


def _in_json(character: str) -> str:
    return json.dumps(character)[1:-1]


def _in_yaml(character: str) -> str:
    return f"\\U{ord(character):08x}"


def _yaml() -> Any:
    """One for each text: it holds what it is writing."""
    from ruamel.yaml import YAML

    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _representer()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 1 << 30  # a line of a prompt stays a line
    return yaml


@cache
def _representer() -> type["SafeRepresenter"]:
    """Texts of several lines as blocks, for people to read; in quotes whatever could be taken for something else."""
    from ruamel.yaml.representer import SafeRepresenter

    class Representer(SafeRepresenter):
        def ignore_aliases(self, data: Any) -> bool:
            return True  # what stands there twice is written twice

    def text(representer: Representer, said: str) -> Any:
        style: str | None = '"'
        if "\n" in said and _only_shows(said):
            style = "|"
        elif len(said) <= MOST_PLAIN and PLAIN_WORDS.fullmatch(said) and said.lower() not in OTHER_THAN_TEXT:
            style = None
        return representer.represent_scalar("tag:yaml.org,2002:str", said, style=style)

    def number(representer: Representer, said: float) -> Any:
        mantissa, e, exponent = repr(said).partition("e")  # `1e-05` is a text to who reads YAML as of 2005
        shown = f"{mantissa}.0e{exponent}" if e and "." not in mantissa else repr(said)
        return representer.represent_scalar("tag:yaml.org,2002:float", shown)

    Representer.add_representer(str, text)
    Representer.add_representer(float, number)
    return Representer
