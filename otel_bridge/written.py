"""A configuration as it is written: YAML with references to the environment and to files, before anybody asks what it
means.

Nothing here needs pydantic or a component: a command that only wants to know where the bridge is starts quickly.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from otel_bridge.announcement import DATA_DIR, DATA_DIR_VARIABLE
from otel_bridge.errors import PlanError
from otel_bridge.files import Files, content, local, reason

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap

REFERENCE = re.compile(
    r"\$(?:(?P<dollar>\$)"
    r"|\{env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|\{file:(?P<path>[^}]+?)(?::-(?P<otherwise>[^}]*))?\}"
    r"|(?P<other>\{[^}]*\}?))"
)
TWICE = re.compile(r'found duplicate key "(.*?)" with value', re.DOTALL)

DEFAULT_DATA_DIR = f"${{env:{DATA_DIR_VARIABLE}:-{DATA_DIR}}}"
DEFAULT_VIEWER = "${env:OTEL_BRIDGE_VIEWER:-127.0.0.1:4319}"

ALONE = """\
# What `otel-bridge` runs with when it is given no configuration (and no Langfuse keys are in the environment).
# `otel-bridge config init` writes this file; `otel-bridge config print` shows every key with its default.
"""
WITH_LANGFUSE = """\
# Local store and viewer, and everything to Langfuse as well: what `otel-bridge` runs with when it is given no
# configuration while LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are set.
# `otel-bridge config init --langfuse` writes this file; `otel-bridge config print` shows every key with its default.
"""
LANGFUSE = """\
  langfuse:
    base_url: ${env:LANGFUSE_BASE_URL:-https://cloud.langfuse.com}
    public_key: ${env:LANGFUSE_PUBLIC_KEY}
    secret_key: ${env:LANGFUSE_SECRET_KEY}
    browser_url: ${env:OTEL_BRIDGE_LANGFUSE_BROWSER_URL:-}   # where people open it, if that is another address
"""
SAMPLE = """\
processors:
  sample:                         # whole traces, of the local store too
    rate: ${env:LANGFUSE_SAMPLE_RATE:-1}

"""
ENVIRONMENT = """\
  translate:
    environment: ${env:LANGFUSE_TRACING_ENVIRONMENT:-}   # of traces that name none
"""


CALL_LOG = """\
  call_log: {}                    # a file for each call of a model, as OTEL_BRIDGE_LLM_LOG asks for
"""


def default_text(*, langfuse: bool, call_log: bool = False) -> str:
    """The configuration that the bridge runs with when it is given none; without a log of calls as it stands in
    `config/`."""
    exporters = ["store", *(["langfuse"] if langfuse else []), *(["call_log"] if call_log else [])]
    steps = ("processors: [sample], " if langfuse else "") + f"exporters: [{', '.join(exporters)}]"
    return f"""\
{WITH_LANGFUSE if langfuse else ALONE}
receivers:
  otlp:
    grpc: ${{env:OTEL_BRIDGE_GRPC:-127.0.0.1:4317}}
    http: ${{env:OTEL_BRIDGE_HTTP:-127.0.0.1:4318}}

{SAMPLE if langfuse else ""}\
exporters:
  store: {{}}                       # the local store, which the viewer and `otel-bridge traces` read
{LANGFUSE if langfuse else ""}{CALL_LOG if call_log else ""}
extensions:
  viewer:
    endpoint: {DEFAULT_VIEWER}

service:
  data_dir: {DEFAULT_DATA_DIR}
{ENVIRONMENT if langfuse else ""}\
  pipelines:
    main: {{receivers: [otlp], {steps}}}
"""


@dataclass(slots=True)
class Expanded:
    """A text with its references replaced; where it took values from (`env X`, `file /run/x`), and what cannot be
    replaced."""

    text: str = ""
    used: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def expand(
    text: str,
    environ: Mapping[str, str],
    files: Files,
    *,
    is_secret: bool = False,
    called: Mapping[str, str] = MappingProxyType({}),
) -> Expanded:
    """Replace references by values, and `$$` by a dollar sign.

    `${env:NAME}` is a value of the environment, `${file:PATH}` the content of a file; with `:-default` before the `}`
    that stands in for what is missing or empty. What is missing is said with that remedy, but for a secret, and
    for files, which hold secrets: everybody would know it.

    called: names of variables whose values were read under another name.
    """
    out = Expanded()

    def one(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        if found["other"]:
            out.wrong.append(
                f"${found['other']} cannot be read, write ${{env:NAME}}, ${{env:NAME:-default}}, ${{file:PATH}}, or $$"
                " for a dollar sign"
            )
            return ""
        if found["path"]:
            return _content(found["path"], found["otherwise"], files, out)
        name, default = found["name"], found["default"]
        if environ.get(name):
            out.used.append(f"env {called.get(name, name)}")
            return environ[name]
        if default is None:
            otherwise = "" if is_secret else f" or write ${{env:{name}:-default}}"
            out.wrong.append(f"the environment has no {name}, set it{otherwise}")
        return default or ""

    out.text = REFERENCE.sub(one, text)
    return out


def _content(path: str, default: str | None, files: Files, out: Expanded) -> str:
    try:
        content = files.text(path)
    except ValueError as error:
        out.wrong.append(str(error))
        return ""
    if content:
        out.used.append(f"file {path}")
        return content
    if default is None:
        what = f"there is no file {path}" if content is None else f"the file {path} is empty"
        out.wrong.append(f"{what}: write the value into it, readable by the bridge alone")
    return default or ""


def text_at(
    written: Mapping[str, Any], path: tuple[str, ...], default: str, file: Path, environ: Mapping[str, str]
) -> str:
    """What a configuration file says under a path of keys, with its references replaced.

    Raises:
        PlanError: a reference can not be replaced.
    """
    node: Any = written
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    if node is None:
        return default
    read = expand(str(node), environ, Files(file.parent))
    if read.wrong:
        raise PlanError([f"{file.name} {'::'.join(path)}: {what}" for what in read.wrong])
    return read.text


def path_at(
    written: Mapping[str, Any], path: tuple[str, ...], default: str, file: Path, environ: Mapping[str, str]
) -> Path:
    """The same where it names a file or folder: where that leads.

    Raises:
        PlanError: a reference can not be replaced, or it leads nowhere.
    """
    try:
        return local(text_at(written, path, default, file, environ), file.parent)
    except ValueError as error:
        raise PlanError([f"{file.name} {'::'.join(path)}: {error}"]) from None


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        PlanError: it cannot be read.
    """
    try:
        return content(path).decode()
    except OSError as error:
        raise PlanError([f"{path}: cannot be read: {reason(path, error)}"]) from error
    except UnicodeDecodeError as error:
        raise PlanError([f"{path}: is not UTF-8 text (byte {error.start})"]) from error


def read_yaml(text: str, origin: str) -> "CommentedMap":
    """The YAML of a configuration, with its places; `origin` names it in messages.

    Raises:
        PlanError: it is not valid, or no mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        raw = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "cannot be read"
        twice = TWICE.match(what)
        said = f"'{twice[1]}' is there twice" if twice else f"not valid YAML: {what.partition(chr(10))[0]}"
        raise PlanError([f"{origin}:{mark.line + 1 if mark else 1} {said}"]) from error
    except YAMLError as error:
        raise PlanError([f"{origin}:1 not valid YAML: {str(error).partition(chr(10))[0]}"]) from error
    except ValueError as error:  # as of a date that there is not
        raise PlanError([f"{origin}:1 a value is not what it looks like: {error}; put it in quotes"]) from None
    except RecursionError:
        raise PlanError([f"{origin}:1 is nested too deeply"]) from None
    if isinstance(raw, CommentedMap):
        return raw
    what = "the file is empty" if raw is None else "must be a mapping with `receivers`, `exporters` and `service`"
    raise PlanError([f"{origin}:1 {what}"])
