"""Standard streams that somebody has closed, that are full, or that nobody reads. Light, as `run` imports it."""

import os
import sys
from typing import TextIO


def open_standard_streams() -> None:
    """Those that are closed lead nowhere: else the next file, as one of the journal, would have the number that errors
    are written to.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))


def nowhere(stream: TextIO) -> None:
    """What is still to be written there goes nowhere: Python would end with 120 over it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(line: str, stream: TextIO) -> None:
    """As far as anybody takes it: what a command ends with does not depend on that."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        nowhere(stream)
