"""How commands find a bridge: its configuration names the data dir, and `bridge.json` there says where it listens."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otel_bridge import __version__
from otel_bridge.files import Files
from otel_bridge.written import DATA_DIR, DEFAULT_DATA_DIR, DEFAULT_VIEWER, expand, read_text, read_yaml, text_at

ANNOUNCEMENT = "bridge.json"

Endpoints = Mapping[str, Mapping[str, str]]
"""Component id → name → address, as `{"otlp": {"http": "http://127.0.0.1:4318"}}`."""


@dataclass(slots=True, frozen=True)
class Found:
    """A bridge that runs, as it announced itself."""

    pid: int
    endpoints: Endpoints

    def address(self, *types: str, name: str | None = None) -> str | None:
        """The first address of a component of these types, by its name where it has several; reachable from here."""
        for wanted in types:
            for key, addresses in self.endpoints.items():
                for called, url in addresses.items():
                    if key.partition("/")[0] == wanted and name in (None, called):
                        return _from_here(url)
        return None


@dataclass(slots=True, frozen=True)
class Place:
    """Where a bridge is, as far as its configuration says; `url` is that of its viewer, else of `health`."""

    data_dir: Path
    store: Path
    url: str | None


def place(config: Path | None, data_dir: Path | None = None) -> Place:
    """Where a command has to look: in the data dir that was named, else where the configuration says.

    Only these few keys are read: whoever looks at traces needs no keys of Langfuse in the environment.

    Raises:
        PlanError: the configuration cannot be read, or what is read of it cannot be used.
    """
    if config is None or data_dir is not None:
        folder = data_dir or Path(expand(DEFAULT_DATA_DIR, os.environ, Files()).text)
        viewer = expand(DEFAULT_VIEWER, os.environ, Files()).text
        return Place(folder.expanduser(), folder.expanduser() / "store.db", _from_here(f"http://{viewer}"))
    written = read_yaml(read_text(config), config.name)

    def text(default: str, *path: str) -> str:
        return text_at(written, path, default, config, os.environ)

    folder = Path(text(DATA_DIR, "service", "data_dir")).expanduser()
    store = Path(text(str(folder / "store.db"), *_first(written, "exporters", "store"), "path")).expanduser()
    for name, default in (("viewer", "127.0.0.1:4319"), ("health", "127.0.0.1:13133")):
        if at := _first(written, "extensions", name):
            return Place(folder, store, _from_here(f"http://{text(default, *at, 'endpoint')}"))
    return Place(folder, store, None)


def _first(written: Mapping[str, Any], section: str, name: str) -> tuple[str, ...]:
    """The path to the first component of a type, empty where there is none."""
    keys = written.get(section)
    found = [key for key in keys if str(key).partition("/")[0] == name] if isinstance(keys, dict) else []
    return (section, found[0]) if found else ()


def _from_here(url: str) -> str:
    """Who listens on all addresses is reached on loopback."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


@contextmanager
def announced(data_dir: Path, endpoints: Endpoints) -> Iterator[None]:
    """Others can find this process as the bridge of a data dir, for as long as this lasts."""
    announce(data_dir, endpoints)
    try:
        yield
    finally:
        (data_dir / ANNOUNCEMENT).unlink(missing_ok=True)


def announce(data_dir: Path, endpoints: Endpoints) -> None:
    """Say where this process is as the bridge of a data dir, in the place of what was said before."""
    path = data_dir / ANNOUNCEMENT
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps({"pid": os.getpid(), "version": __version__, "endpoints": endpoints}), encoding="utf-8")
    draft.replace(path)


def find(data_dir: Path) -> Found | None:
    """The bridge that runs on a data dir, None where there is none (or it died without a word)."""
    found = last(data_dir)
    return found if found is not None and found.pid > 0 and _alive(found.pid) else None


def last(data_dir: Path) -> Found | None:
    """The bridge that announced itself last on a data dir and did not take that back; it may have been killed since."""
    try:
        said = json.loads((data_dir.expanduser() / ANNOUNCEMENT).read_text(encoding="utf-8"))
        return Found(int(said["pid"]), {str(key): dict(names) for key, names in said["endpoints"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
