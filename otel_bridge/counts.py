"""Counts with their nouns, as people write them."""


def plural(count: int, thing: str) -> str:
    """`1 error`, `2 errors`, `0 entries`; thing: of one."""
    if count == 1:
        return f"1 {thing}"
    return f"{count} {thing[:-1]}ies" if thing.endswith("y") else f"{count} {thing}s"
