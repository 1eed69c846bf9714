"""Sessions: what their traces add up to, and the conversation that they are."""

import pytest

from otel_bridge.query.find import NotFoundError
from otel_bridge.query.sessions import TURN_CHARACTERS, list_sessions, one_session
from otel_bridge.store.writer import Writer
from tests.query.conftest import Opened, Settled


def test_sessions_gather_their_traces(settled: Settled, reader: Opened) -> None:
    for number in range(1, 7):
        settled(number, start_s=number, session_id=f"s/{number % 3}", error=number == 6)
    settled(7)
    settled(8, start_s=2.5, session_id="s/1")

    first = list_sessions(reader(), limit=2)
    rest = list_sessions(reader(), limit=2, cursor=first["nextCursor"])
    one = one_session(reader(), "s/0")
    sessions = [(session["id"], session["traceCount"]) for session in first["sessions"] + rest["sessions"]]
    assert sessions == [("s/0", 2), ("s/2", 2), ("s/1", 3)]
    assert (one["traceCount"], one["errorCount"], one["durationMs"]) == (2, 1, 4000.0)
    assert [int(trace["id"], 16) for trace in one["traces"]] == [6, 3]
    with pytest.raises(NotFoundError):
        one_session(reader(), "s")


def test_a_session_is_told_as_a_conversation(settled: Settled, writer: Writer, reader: Opened) -> None:
    """In order, of each turn what is new; who takes part; and the turn that runs."""
    system, hi, hello = ({"role": role, "content": role} for role in ("system", "user", "assistant"))
    more = {"role": "user", "content": "x" * TURN_CHARACTERS}
    settled(1, session_id="s", user_id="ada", input=[system, hi], output=hello)
    settled(2, session_id="s", user_id="bob", start_s=1, input={"messages": [system, hi, hello, more]}, output="yes")
    settled(3, session_id="s", user_id="ada", start_s=2, input=[hi, hello])
    settled(4, session_id="s", start_s=3, input={"city": "Oslo"}, output=0)
    run = [hi, *({**hello, "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "sunny"})]
    settled(5, session_id="s", start_s=4, input=[system, hi, hello, *run], output="it is")

    told = one_session(reader(), "s", sort="start", turns=True)
    assert told["userIds"] == ["ada", "bob"]
    turns = [(turn["input"], turn["output"]) for turn in told["traces"]]
    assert turns[0] == ([hi], hello)
    assert turns[1][0].endswith("characters, cut)")
    assert [turns[1][1], *turns[2:]] == ["yes", ([hello], None), ({"city": "Oslo"}, 0), (run, "it is")]
    assert "input" not in one_session(reader(), "s")["traces"][0]
