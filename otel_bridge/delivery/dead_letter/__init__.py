"""Items that a destination will never take, set aside with what it said; they can be looked at and tried again."""

from otel_bridge.delivery.dead_letter.letter import TRANSLATION, DeadLetter
from otel_bridge.delivery.dead_letter.letters import DeadLetters, open_dead_letters
from otel_bridge.delivery.dead_letter.reading import (
    Chosen,
    check_chosen,
    letter_of,
    letters_in,
    page_of,
    read_letters,
    waiting_in,
)

__all__ = [
    "TRANSLATION",
    "Chosen",
    "DeadLetter",
    "DeadLetters",
    "check_chosen",
    "letter_of",
    "letters_in",
    "open_dead_letters",
    "page_of",
    "read_letters",
    "waiting_in",
]
