"""How commands find the running bridge: `bridge.json` in its data dir says who it is and where it listens."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from otel_bridge import __version__

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
                        return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        return None


@contextmanager
def announced(data_dir: Path, endpoints: Endpoints) -> Iterator[None]:
    """Others can find this process as the bridge of a data dir, for as long as this lasts."""
    path = data_dir / "bridge.json"
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps({"pid": os.getpid(), "version": __version__, "endpoints": endpoints}), encoding="utf-8")
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def find(data_dir: Path) -> Found | None:
    """The bridge that runs on a data dir, None where there is none (or it died without a word)."""
    try:
        said = json.loads((data_dir.expanduser() / "bridge.json").read_text(encoding="utf-8"))
        found = Found(int(said["pid"]), {str(key): dict(names) for key, names in said["endpoints"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if found.pid > 0 and _alive(found.pid) else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
