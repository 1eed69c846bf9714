"""Names and ids as somebody asks for them."""

from otel_bridge.errors import UsageError

MAX_PATTERN = 256


def storable(said: str) -> str:
    """Half surrogates, as arguments may hold, are no text to SQLite."""
    return said.encode(errors="replace").decode()


def checked(pattern: str) -> str:
    """A name, or names with `*` in them, as SQLite can be asked for it.

    Raises:
        UsageError: it is too long.
    """
    if len(pattern) > MAX_PATTERN:
        raise UsageError(f"the name has {len(pattern)} characters, {MAX_PATTERN} at most")
    return storable(pattern)


def as_glob(pattern: str) -> str:
    """A name in which `*` stands for anything, for SQLite's GLOB."""
    return "".join(f"[{character}]" if character in "[?" else character for character in pattern)
