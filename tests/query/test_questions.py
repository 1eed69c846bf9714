"""`otel-bridge traces` and `otel-bridge trace`, as they print."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.cells import cell_len
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from otel_bridge.batch import Batch
from otel_bridge.cli.questions import load_observation, load_trace, load_traces, trace, traces
from otel_bridge.cli.render import render_list, render_observation, render_tree
from otel_bridge.errors import FilesError, UnreachableError, UsageError
from otel_bridge.model import Score
from otel_bridge.query.find import NotFoundError
from otel_bridge.query.outline import brief, cost, duration, markdown, outline
from otel_bridge.query.transcript import spoken
from otel_bridge.store.writer import Writer
from tests.query.conftest import COSTS, DURATIONS, Settled

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202eevil [bold]not bold[/bold] :smile:\r\nnext"


@pytest.fixture
def hostile(settled: Settled, tmp_path: Path) -> Path:
    settled(
        1, ((1, 0), (2, 1)), name=HOSTILE, session_id=HOSTILE, tags=[HOSTILE], input=HOSTILE, error=True,
        scores=(Score("s", HOSTILE, HOSTILE, "TEXT", 5, trace_id=f"{1:032x}", comment=HOSTILE),),
        observation={
            "name": HOSTILE, "model": HOSTILE, "status_message": HOSTILE, "metadata": {HOSTILE: HOSTILE},
            "input": {"messages": [{"role": HOSTILE, "content": HOSTILE}], "tools": [{"name": HOSTILE}]},
            "output": [{"role": "assistant", "tool_calls": [{"id": HOSTILE, "name": HOSTILE, "args": {HOSTILE: 1}}]}],
        },
    )  # fmt: skip
    return tmp_path / "store.db"


def printed(renderable: object, width: int = 5000) -> str:
    console = Console(width=width, force_terminal=True, color_system=None, highlight=False, file=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_nothing_in_a_trace_reaches_the_terminal_raw(hostile: Path) -> None:
    """No escape sequence, no turned reading direction, no line of its own, and no markup."""
    found = load_trace(hostile)
    for text in (
        printed(render_tree(found)),
        printed(render_list(load_traces(hostile))),
        printed(render_list({"traces": []}, filter_text=HOSTILE)),
        printed(render_observation(load_observation(hostile, "last", f"{2:016x}"))),
        outline(found),
        markdown(found),
    ):
        assert not any(bad in text for bad in "\x1b\x07\x9b\u202e\r")
        assert "\nnext" not in text
        assert "[bold]not bold[/bold] :smile:" in text


def test_a_tree_shows_what_there_is_to_know(settled: Settled, tmp_path: Path) -> None:
    settled(
        1, ((1, 0), (2, 1)), session_id="morning",
        scores=(Score("s", "helpful", 0.5, "NUMERIC", 5, trace_id=f"{1:032x}", observation_id=f"{2:016x}"),),
        observation={"model": "gpt-5", "usage": {"total": 21}, "cost": {"total": 0.004}},
    )  # fmt: skip

    text = printed(render_tree(load_trace(tmp_path / "store.db")))
    assert "1.0 s · 2 observations · 42 tokens · $0.008" in text
    assert "session: morning" in text
    assert "0000000000000002 └─ SPAN observation 2  1.0 s · gpt-5 · 21 tokens · $0.004\n" in text
    assert "                       helpful = 0.5\n" in text


@pytest.mark.parametrize("width", [40, 80, 120])
def test_rows_are_cut_to_the_terminal(settled: Settled, tmp_path: Path, width: int) -> None:
    """No row reaches the next line; tokens and cost are whole where there is room for them at all."""
    settled(
        1, ((1, 0), *((child, child - 1) for child in range(2, 40))), name="a long name " * 9, session_id="s" * 50,
        error=True, observation={"name": "一个很长的名字 " * 9, "model": "gpt-5-mini", "status_message": "why " * 99,
                                 "usage": {"total": 1234}, "cost": {"total": 0.0123}},
    )  # fmt: skip
    store = tmp_path / "store.db"
    tree = printed(render_tree(load_trace(store), width))
    listed = printed(render_list(load_traces(store), width=width))

    assert max(cell_len(line) for line in (tree + listed).splitlines()) <= width
    assert len(listed.splitlines()) == 2
    if width >= 80:
        assert tree.count("ERROR why why") == 39
        assert "$0.48" in listed
        assert "1234 tokens · $0.012" in tree


def test_what_is_no_terminal_has_no_width(settled: Settled, tmp_path: Path) -> None:
    """Names are cut to 200 characters as everywhere, and to no less."""
    settled(1, name="a long name " * 30, session_id="s" * 300, observation={"name": "b long name " * 30})
    store = tmp_path / "store.db"

    listed = printed(render_list(load_traces(store)))
    assert "a long name " * 16 in listed
    assert "s" * 300 in listed
    assert "b long name " * 16 in printed(render_tree(load_trace(store)))


def test_a_trace_that_is_still_open_is_told_from_one_without_tokens(
    settled: Settled, writer: Writer, tmp_path: Path
) -> None:
    settled(1)
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=(2).to_bytes(16), span_id=(1).to_bytes(8), name="running", start_time_unix_nano=1
    )
    writer.batch(Batch.from_request(request))

    told = {
        line.split()[-1]: line.split()
        for line in printed(render_list(load_traces(tmp_path / "store.db"))).split("\n")[1:-1]
    }
    assert "open" in told["running"]
    assert "open" not in told["1"]


def test_whose_a_trace_is_is_shown_where_there_are_tenants(settled: Settled, tmp_path: Path) -> None:
    """And a tenant is asked for letter for letter: ACME is another one."""
    store = tmp_path / "store.db"
    settled(1)
    assert "tenant" not in printed(render_list(load_traces(store)))
    settled(1, tenant="acme")
    settled(2, tenant="ACME")

    listed = [line.split()[1:2] for line in printed(render_list(load_traces(store, sort="start"))).splitlines()[1:]]
    assert sorted(listed) == [["ACME"], ["acme"], ["default"]]
    assert [one["tenant"] for one in load_traces(store, tenant="acme")["traces"]] == ["acme"]
    assert load_traces(store, "name:trace* OR name:x", tenant="beta", tenants=["beta"])["traces"] == []
    assert load_traces(store, "name:nobody", tenant="acme", tenants=["beta"])["traces"] == []
    with pytest.raises(UsageError, match="no tenant 'betta', did you mean beta"):
        load_traces(store, tenant="betta", tenants=["beta"])
    with pytest.raises(UsageError, match="no tenant 'x', there are: ACME, acme, default"):
        load_traces(store, tenant="x")
    assert "tenant: ACME\n" in printed(render_tree(load_trace(store, "last", tenant="ACME")))
    assert load_trace(store, f"{1:032x}", tenant="acme")["tenant"] == "acme"
    twins = "tenant: default\nsame id: acme (`--tenant`, or `tenant=` in the API, says whose)\n"
    assert twins in printed(render_tree(load_trace(store, f"{1:032x}")))
    assert twins in outline(load_trace(store, f"{1:032x}"))
    assert twins in printed(render_observation(load_observation(store, f"{1:032x}", "observation 1")))
    assert "same id" not in printed(render_tree(load_trace(store, f"{2:032x}")))
    with pytest.raises(NotFoundError, match="no trace of the tenant 'beta' yet, it holds those of ACME, acme"):
        load_trace(store, tenant="beta")


def test_columns_without_a_value_are_left_out(settled: Settled, tmp_path: Path) -> None:
    settled(1)

    header = printed(render_list(load_traces(tmp_path / "store.db"))).splitlines()[0]
    assert header.split() == ["id", "started", "UTC", "took", "name"]


def test_a_list_says_that_there_are_more(settled: Settled, tmp_path: Path) -> None:
    for number in range(3):
        settled(number + 1)
    store = tmp_path / "store.db"
    assert printed(render_list(load_traces(store, limit=2))).endswith("… and more: a filter or --limit chooses\n")
    assert "more" not in printed(render_list(load_traces(store, limit=3)))


@pytest.mark.parametrize(("filter_text", "said"), [("", "Send some"), ("name:nobody", "No trace matches name:nobody")])
def test_no_traces_are_not_the_same_as_no_match(filter_text: str, said: str) -> None:
    assert said in printed(render_list({"traces": []}, filter_text))


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Asks.", "parameters": {"type": "object"}}}


def test_an_observation_is_shown_as_a_chat(settled: Settled, tmp_path: Path) -> None:
    """Messages, calls, results and offered tools, each below its label; the rest as pairs."""
    settled(
        1,
        observation={
            "name": "chat", "model": "gpt-5", "usage": {"total": 21}, "metadata": {"team": "blue"},
            "input": {
                "messages": [
                    {"role": "user", "content": "Is it\ncold?"},
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "minus 4"}]},
                ],
                "tools": [TOOL],
            },
            "output": [{"role": "assistant", "content": "Yes."}],
        },
    )  # fmt: skip

    found = load_observation(tmp_path / "store.db", "last", "chat")
    assert printed(render_observation(found)).splitlines() == [
        "SPAN chat  0000000000000001", "1.0 s · gpt-5 · 21 tokens", "",
        "Input",
        "  user", "    Is it", "    cold?",
        "  assistant · call · weather · call_1", '    {"city": "Oslo"}',
        "  tool · call_1", "    minus 4",
        "  tool · weather", "    Asks.", '    {"parameters":{"type":"object"}}', "",
        "Output", "  assistant", "    Yes.", "",
        "Usage", "  total: 21", "",
        "Metadata", "  team: blue",
    ]  # fmt: skip
    assert all(cell_len(line) <= 20 for line in printed(render_observation(found, 20), 20).splitlines())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("role", "content", "parts", "tool_calls", "function", "name", "type", "text", "messages", "tools")
            ),
            inner | st.sampled_from(("tool_call", "tool_result", "reasoning")),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_content_can_be_shown(value: object) -> None:
    """Chats that are none included; texts are texts, and a string is never lost."""
    said = spoken(value)

    assert {type(each) for pair in said for each in pair} <= {str}
    assert bool(said) == (value is not None)
    assert isinstance(brief(value), str)


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ({"type": "tool-call", "toolCallId": "c1", "toolName": "add", "input": {"a": 1}}, "call · add · c1"),
        ({"type": "server_tool_call", "id": "c1", "name": "add", "arguments": {"a": 1}}, "call · add · c1"),
        ({"type": "toolUse", "toolUseId": "c1", "name": "add", "input": {"a": 1}}, "call · add · c1"),
        ({"type": "tool-result", "toolCallId": "c1", "toolName": "add", "output": {"a": 1}}, "result · add · c1"),
        ({"type": "server_tool_call_response", "id": "c1", "response": {"a": 1}}, "result · c1"),
    ],
)
def test_calls_and_results_are_shown_as_such_in_whatever_words(part: dict[str, Any], shown: str) -> None:
    assert spoken([{"role": "assistant", "content": [part]}]) == [(f"assistant · {shown}", '{\n  "a": 1\n}')]


def test_nothing_of_a_message_is_left_out() -> None:
    """A refusal stands beside an empty content; what only has a role, as a user of a program, is no message at all."""
    refusing = {"role": "assistant", "content": None, "refusal": "No.", "audio": None, "finish_reason": "stop"}
    assert spoken([refusing]) == [("assistant · finish_reason: stop · refusal", "No.")]
    assert brief([{**refusing, "content": "Hm."}]) == "Hm."
    arguments = {"role": "admin", "user": "ada"}
    assert spoken(arguments) == [("", '{\n  "role": "admin",\n  "user": "ada"\n}')]
    assert brief([arguments]) == '[{"role":"admin","user":"ada"}]'


def test_what_a_message_says_of_itself_is_no_message() -> None:
    """It stands beside the role, once; what is longer than a word does not."""
    said = {"role": "assistant", "type": "message", "content": ["Hm.", "No."], "finish_reason": "stop"}
    assert spoken([said]) == [("assistant · type: message · finish_reason: stop", "Hm."), ("assistant", "No.")]
    long = "stop\nhere"
    assert spoken([{**said, "content": [], "finish_reason": long}]) == [
        ("assistant · type: message · finish_reason", long)
    ]
    assert spoken([{"role": "assistant", "content": "", "status": "failed"}]) == [("assistant · status: failed", "")]


def test_the_commands_run(hostile: Path) -> None:
    app = Typer()
    app.command()(traces)
    app.command()(trace)
    run = CliRunner().invoke
    folder = ["--data-dir", str(hostile.parent)]

    assert run(app, ["traces", "status:error", *folder]).exit_code == 0
    assert '"totalTokens"' in run(app, ["trace", "last", "--json", *folder]).output
    assert '"metadata"' in run(app, ["trace", "last", f"{2:016x}", "--json", *folder]).output
    assert run(app, ["trace", "last", "--full", *folder]).output.count("Input") == 2
    assert len(json.loads(run(app, ["trace", "--full", "--json", *folder]).output)["observations"][1]["output"]) == 1
    assert isinstance(run(app, ["traces", "nme:x", *folder]).exception, UsageError)


def test_no_store_and_no_bridge_are_said(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match="start the bridge"):
        load_traces(tmp_path / "store.db")
    with pytest.raises(UnreachableError, match="no bridge answers"):
        load_trace("http://127.0.0.1:1")
    for odd in ("ftp://x", "http://", "http://x:port"):
        with pytest.raises(UsageError, match="no address"):
            load_trace(odd)


def test_short_words() -> None:
    assert {ms: duration(ms) for ms in DURATIONS} == DURATIONS
    assert duration(0.2) == "0 ms"
    assert {dollars: cost(dollars) for dollars in COSTS} == COSTS
    assert (
        brief([{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}]) == "b"
    )
    assert brief({"messages": [{"role": "user", "parts": [{"type": "text", "content": "c"}]}]}) == "c"
    assert brief({"q": 1}) == '{"q":1}'
    assert brief(None) == ""
