"""What tests put into a state."""

from otel_bridge.batch import Signal
from otel_bridge.journal.exporters import Account
from otel_bridge.journal.memory import Remembered
from otel_bridge.journal.parts import Part, Share
from otel_bridge.journal.state import State
from otel_bridge.telemetry import Outcome
from otel_bridge.trace import Answer, Decision, Known, Settled

DELIVERED = (Signal.TRACES, Outcome.DELIVERED, "")
ACCOUNT = Account("main", "store", "t", Signal.TRACES)


def a_part(state: State, *seqs: int, key: str = "k", known: Known | None = None) -> Part:
    shares = [Share(seq, Signal.TRACES, 2) for seq in seqs]
    return Part(state.parts.next_id(), "main", "t", key, 0, shares, 10, 5, Settled.ROOT, known=known)


def with_exporters(state: State) -> None:
    state.exporters.register("main", "store", settled=False, start_seq=1, accepted={("t", Signal.TRACES): 7})
    state.exporters.register("main", "langfuse", settled=True, start_seq=1, accepted={})


def remember(known: Known | None = None) -> Remembered:
    return Remembered(1, Decision.KEPT, known or Known())


def an_answer(trace: str = "aa", *, counted: bool = True) -> Answer:
    return Answer(trace, "01", "sdk", 10**18, 10**18 + 5, "production", counted)
