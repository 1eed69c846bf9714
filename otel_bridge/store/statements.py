"""SQL from `.sql` files, each statement under the name that a `-- name:` line gives it."""

import re
from importlib.resources import files

_NAMED = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def text(package: str, file: str) -> str:
    """A whole `.sql` file of a package."""
    return (files(package) / file).read_text(encoding="utf-8")


def statements(package: str, file: str) -> dict[str, str]:
    """The statements of a `.sql` file by name."""
    parts = _NAMED.split(text(package, file))[1:]
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))
