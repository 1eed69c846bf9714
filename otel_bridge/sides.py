"""The ids under which is delivered to an exporter: its own, and a second where it takes both what comes and what has
settled."""

SETTLED = ".settled"  # so no id of an exporter ends with this


def settled_side(exporter: str) -> str:
    """The second id."""
    return f"{exporter}{SETTLED}"


def side_of(exporter: str) -> str:
    """The exporter as it is configured, of either id."""
    return exporter.removesuffix(SETTLED)
