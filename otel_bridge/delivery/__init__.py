"""Around every exporter of every pipeline: its place in the journal, batching, retry, dead letters and accounts.

Lanes read what the journal and the state hold, one for each exporter and tenant, so that an outage costs disk and
nothing else. What is confirmed is accounted for in the same transaction.
"""

from otel_bridge.delivery.accounts import DEAD_LETTERS_FILE, JOURNAL_DIR, STATE_FILE, Audit, audit
from otel_bridge.delivery.dead_letter import DeadLetter, DeadLetters, open_dead_letters
from otel_bridge.delivery.delivering import Delivery, delivering
from otel_bridge.delivery.parts import Process, Translate
from otel_bridge.delivery.surroundings import DeliverConfig
from otel_bridge.delivery.whereabouts import Whereabouts, locate

__all__ = [
    "DEAD_LETTERS_FILE",
    "JOURNAL_DIR",
    "STATE_FILE",
    "Audit",
    "DeadLetter",
    "DeadLetters",
    "DeliverConfig",
    "Delivery",
    "Process",
    "Translate",
    "Whereabouts",
    "audit",
    "delivering",
    "locate",
    "open_dead_letters",
]
