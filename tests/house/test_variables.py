"""The page of environment variables has those that the code reads, no others, at the code's defaults; so has the file
to copy."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from otel_bridge import langfuse_names, plan
from otel_bridge.sdk import distro
from otel_bridge.sdk.batch import DELAY_S
from otel_bridge.sdk.open_spans import BEAT_S
from otel_bridge.sdk.sending import EXIT_S

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "variables.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
FOUND_THERE = "\n## Found there"

NAME = re.compile(r"[A-Z][A-Z0-9_]+")
SURELY = re.compile(r"(?:OTEL|LANGFUSE)_[A-Z0-9_]*[A-Z0-9]|[A-Z]+_CA_BUNDLE|SSL_CERT_FILE")
MADE = re.compile(r"[A-Z0-9_*]*_[A-Z0-9_*]*")
ENVIRONMENTS = ("os.environ", "environ", "variables", "given")


def rows(page: str) -> dict[str, str]:
    """Variable → default, as the tables have it; "" where there is none."""
    return dict(re.findall(r"^\| `([A-Z0-9_]+)` \|(?: `([^`]*)`)? \| .*\|$", page, re.MULTILINE))


class Code:
    """What the code says of variables: names, names with a part that is put in (`OTEL_*_EXPORTER`), and other words."""

    def __init__(self, text: str = "") -> None:
        texts = [text] if text else [file.read_text() for file in (ROOT / "otel_bridge").rglob("*.py")]
        nodes = [node for one in texts for node in ast.walk(ast.parse(one))]
        self.words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        self.names = {word for word in self.words if SURELY.fullmatch(word)}
        self.names |= {name for word in self.words for name in re.findall(r"\$\{env:(\w+)", word) if SURELY.match(name)}
        self.names |= {name for node in nodes for name in self._read(node)}
        self.names -= set(langfuse_names.MEANT)
        self.made = {made for node in nodes if isinstance(node, ast.JoinedStr) for made in self._made(node)}

    @staticmethod
    def _read(node: ast.AST) -> Iterator[str]:
        """A name of whatever form that an environment is asked for."""
        match node:
            case ast.Call(func=ast.Attribute(value=of, attr="get" | "pop" | "setdefault"), args=[ast.Constant(), *_]):
                key: ast.expr = node.args[0]
            case ast.Subscript(value=of, slice=ast.Constant() as key):
                pass
            case _:
                return
        if ast.unparse(of) in ENVIRONMENTS and NAME.fullmatch(said := ast.literal_eval(key)):
            yield said

    @staticmethod
    def _made(node: ast.JoinedStr) -> Iterator[str]:
        parts = [part.value if isinstance(part, ast.Constant) else "*" for part in node.values]
        whole = "".join(map(str, parts))
        if whole.startswith("OTEL_") and MADE.fullmatch(whole):
            yield whole

    def reads(self, name: str) -> bool:
        """Also one that is made of words of the code, or written in small letters as a header is."""
        return (
            name in self.words | self.names
            or name.lower() in self.words
            or any(self.fits(made, name) for made in self.made)
        )

    def fits(self, made: str, name: str) -> bool:
        found = re.fullmatch(made.replace("*", "([A-Z_]+)"), name)
        return found is not None and found[1] in self.words


@pytest.fixture(scope="module")
def code() -> Code:
    return Code()


def test_every_variable_that_is_read_is_on_the_page(code: Code) -> None:
    listed = rows(PAGE)

    assert sorted(code.names - set(listed)) == []
    assert [made for made in code.made if not any(code.fits(made, name) for name in listed)] == []


def test_every_variable_on_the_page_is_read(code: Code) -> None:
    assert [name for name in rows(PAGE) if not code.reads(name)] == []


@pytest.mark.parametrize(
    "text",
    [
        'os.environ.get("MODEL_HOST")',
        'environ["OTEL_BRIDGE_NEW"]',
        'KEY = "LANGFUSE_NEW"',
        'TEXT = "a: ${env:OTEL_BRIDGE_NEW:-b}"',
        'given.pop("MODEL_HOST", None)',
    ],
)
def test_a_new_variable_would_be_found(text: str) -> None:
    assert Code(text).names - set(rows(PAGE))


def test_names_that_are_taken_for_others_are_said() -> None:
    for name, meant in langfuse_names.MEANT.items():
        assert re.search(rf"`{name}`[^.]*?for `{meant}`", PAGE), name


def test_defaults_are_those_of_the_code() -> None:
    said = rows(PAGE)

    assert float(said["OTEL_BRIDGE_EXIT_SECONDS"]) == EXIT_S
    assert float(said["OTEL_BRIDGE_HEARTBEAT_SECONDS"]) == BEAT_S
    assert float(said["OTEL_BSP_SCHEDULE_DELAY"]) == float(said["OTEL_BLRP_SCHEDULE_DELAY"]) == DELAY_S * 1000
    assert said["LANGFUSE_BASE_URL"] == langfuse_names.CLOUD
    assert distro.DEFAULTS.items() <= said.items()


def test_the_file_to_copy_has_every_variable_that_one_sets_at_its_default() -> None:
    compose = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
    wanted = rows(PAGE.partition(FOUND_THERE)[0]) | dict(re.findall(r"\$\{(\w+):-([^}]*)\}", compose))

    assert dict(re.findall(r"^#([A-Z0-9_]+)=(\S*)$", EXAMPLE, re.MULTILINE)) == wanted


def test_the_file_to_copy_sets_nothing_as_it_stands() -> None:
    assert [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")] == []


def test_the_defaults_change_nothing() -> None:
    """With the # taken away everywhere the bridge runs as without the file."""
    every = dict(re.findall(r"^#([A-Z0-9_]+)=(\S*)$", EXAMPLE, re.MULTILINE))
    listening = {name for name in every if name.startswith("OTEL_BRIDGE_")}
    assert {"OTEL_BRIDGE_GRPC", "OTEL_BRIDGE_HTTP", "OTEL_BRIDGE_VIEWER", "OTEL_BRIDGE_DATA_DIR"} <= listening

    assert plan.load(None, environ=every).to_dict() == plan.load(None, environ={}).to_dict()


def test_compose_takes_the_keys_from_the_file() -> None:
    compose = YAML(typ="safe").load(ROOT / "docker-compose.yaml")

    passed = {name for name in compose["services"]["bridge"]["environment"] if "LANGFUSE_" in name}
    assert passed == {
        *("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "LANGFUSE_BASE_URL", "OTEL_BRIDGE_LANGFUSE_BROWSER_URL"),
        *("LANGFUSE_SAMPLE_RATE", "LANGFUSE_TRACING_ENVIRONMENT"),
    }
