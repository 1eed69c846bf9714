"""`bridge.json` in a data dir says where the bridge listens that runs on it, to commands and to agents. Light."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otel_bridge import __version__

ANNOUNCEMENT = "bridge.json"
DATA_DIR = "~/.otel-bridge"
DATA_DIR_VARIABLE = "OTEL_BRIDGE_DATA_DIR"

Endpoints = Mapping[str, Mapping[str, str]]
"""Component id → name → address, as `{"otlp": {"http": "http://127.0.0.1:4318"}}`."""


@dataclass(slots=True, frozen=True)
class Found:
    """A bridge that runs, as it announced itself.

    while_used: it ends with the last `otel-bridge run` that uses it.
    configuration: the file that it was started with; None for the default, or where it does not say.
    began: when its process did, in ticks of the machine's clock; None where the system does not tell.
    """

    pid: int
    endpoints: Endpoints
    while_used: bool = False
    configuration: Path | None = None
    began: int | None = None

    def address(self, *types: str, name: str | None = None) -> str | None:
        """The first address of a component of these types, by its name where it has several; reachable from here."""
        for wanted in types:
            for key, addresses in self.endpoints.items():
                for called, url in addresses.items():
                    if key.partition("/")[0] == wanted and name in (None, called):
                        return from_here(url)
        return None


def from_here(url: str) -> str:
    """Who listens on all addresses is reached on loopback."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


@contextmanager
def announced(
    data_dir: Path, endpoints: Endpoints, *, while_used: bool = False, config: Path | None = None
) -> Iterator[None]:
    """Others can find this process as the bridge of a data dir, for as long as this lasts."""
    announce(data_dir, endpoints, while_used=while_used, config=config)
    try:
        yield
    finally:
        (data_dir / ANNOUNCEMENT).unlink(missing_ok=True)


def announce(data_dir: Path, endpoints: Endpoints, *, while_used: bool = False, config: Path | None = None) -> None:
    """Say where this process is as the bridge of a data dir, in the place of what was said before."""
    pid = os.getpid()
    said = {"pid": pid, "began": _began(pid), "version": __version__, "endpoints": endpoints, "whileUsed": while_used}
    write(data_dir / ANNOUNCEMENT, {**said, "configuration": str(config.absolute()) if config else None})


def write(path: Path, said: Mapping[str, Any]) -> None:
    """Say something in a file, whole or not at all, to those who may read the others of a data dir."""
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(said), encoding="utf-8")
    draft.replace(path)


def find(data_dir: Path) -> Found | None:
    """The bridge that runs on a data dir, None where there is none (or it died without a word)."""
    found = last(data_dir)
    return found if found is not None and found.pid > 0 and is_alive(found.pid) and _is_itself(found) else None


def last(data_dir: Path) -> Found | None:
    """The bridge that announced itself last on a data dir and did not take that back; it may have been killed since."""
    try:
        said = json.loads((data_dir / ANNOUNCEMENT).read_text(encoding="utf-8"))
        endpoints = {
            str(key): {str(name): str(url) for name, url in addresses.items()}
            for key, addresses in said["endpoints"].items()
        }
        config, began = said.get("configuration"), said.get("began")
        return Found(
            int(said["pid"]),
            endpoints,
            bool(said.get("whileUsed")),
            Path(config) if config else None,
            began if type(began) is int else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def is_alive(pid: int) -> bool:
    """Whether a process is there, and not merely its end that nobody has asked for."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return _stat(pid)[:1] != [b"Z"]  # as under a first process of a container that asks for nobody's end


def _is_itself(found: Found) -> bool:
    """Whether its process is no other that has its number since; if nobody tells, it is."""
    began = _began(found.pid)
    return None in (began, found.began) or began == found.began


def _began(pid: int) -> int | None:
    """When a process did, in ticks since the machine was started."""
    said = _stat(pid)
    return int(said[19]) if len(said) > 19 else None


def _stat(pid: int) -> list[bytes]:
    """What Linux tells of a process, from its state on; nothing elsewhere, and of none that may not be seen."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return []
