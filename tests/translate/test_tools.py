"""One call of a tool, told by an agent and by the protocol that carries it, is one TOOL."""

from typing import Any

from otel_bridge.translate import translate

CALL = {"mcp.method.name": "tools/call"}
AGENT_TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}
MCP = "mcp-python-sdk"


def types(otlp: Any, *spans: Any) -> dict[str, str]:
    return {str(seen.name): str(seen.type) for seen in translate(otlp.trace(*spans)).observations}


def test_client_and_server_below_the_agents_tool_are_spans(otlp: Any) -> None:
    told = types(
        otlp,
        otlp.span(1, name="execute_tool get_weather", attrs=AGENT_TOOL),
        otlp.span(2, 1, name="MCP send tools/call get_weather", scope=MCP, attrs=CALL),
        otlp.span(3, 2, name="tools/call get_weather", scope=MCP, attrs=CALL | AGENT_TOOL),
    )

    assert told == {
        "execute_tool get_weather": "TOOL",
        "MCP send tools/call get_weather": "SPAN",
        "tools/call get_weather": "SPAN",
    }


def test_the_outer_one_gets_what_it_lacks(otlp: Any) -> None:
    seen = translate(
        otlp.trace(
            otlp.span(1, name="execute_tool get_weather", attrs=AGENT_TOOL),
            otlp.span(2, 1, name="get_weather", attrs=CALL | AGENT_TOOL | {"gen_ai.tool.call.arguments": '{"x": 1}'}),
        )
    ).observations

    assert seen[0].input == {"x": 1}
    assert seen[1].metadata["same_call_as"] == seen[0].id


def test_a_server_alone_shows_its_tool(otlp: Any) -> None:
    told = types(otlp, otlp.span(3, 2, name="tools/call get_weather", scope=MCP, attrs=CALL | AGENT_TOOL))

    assert told == {"tools/call get_weather": "TOOL"}


def test_another_tool_below_a_tool_is_one_of_its_own(otlp: Any) -> None:
    told = types(
        otlp,
        otlp.span(1, name="execute_tool plan_trip", attrs=AGENT_TOOL | {"gen_ai.tool.name": "plan_trip"}),
        otlp.span(2, 1, name="MCP send tools/call get_weather", scope=MCP, attrs=CALL),
    )

    assert told["MCP send tools/call get_weather"] == "TOOL"


def test_an_agent_between_them_makes_another_call(otlp: Any) -> None:
    told = types(
        otlp,
        otlp.span(1, name="execute_tool get_weather", attrs=AGENT_TOOL),
        otlp.span(2, 1, name="invoke_agent a", attrs={"gen_ai.operation.name": "invoke_agent"}),
        otlp.span(3, 2, name="MCP send tools/call get_weather", scope=MCP, attrs=CALL),
    )

    assert told["MCP send tools/call get_weather"] == "TOOL"


def test_one_call_under_one_key_is_one_tool_wherever_it_is_told(otlp: Any) -> None:
    execute = {"tool.name": "bash", "tool.call_id": "c-1"}
    told = {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "bash", "ai.toolCall.id": "c-1"}
    spans = (
        otlp.span(1, name="Tool.execute", scope="opencode", attrs=execute),
        otlp.span(2, name="ai.toolCall", scope="opencode", attrs=told | {"ai.toolCall.args": '{"command": "ls"}'}),
        otlp.span(3, name="Tool.execute", scope="opencode", attrs=execute | {"tool.call_id": "c-2"}),
    )

    for order in (spans, spans[::-1]):
        seen = {node.id[-1]: node for node in translate(otlp.trace(*order)).observations}
        assert {place: str(node.type) for place, node in seen.items()} == {"1": "SPAN", "2": "TOOL", "3": "TOOL"}
        assert seen["1"].metadata["same_call_as"] == seen["2"].id


def opencode_tool(otlp: Any, number: int, name: str, at_ms: tuple[int, int], **said: str) -> tuple[Any, Any]:
    """A tool as the AI SDK and, within that, the program tell of it: the SDK's span has the number, the other the next.

    Its key is the one that servers give who begin anew with each request.
    """
    outer = {"ai.operationId": "ai.toolCall", "ai.toolCall.name": name, "ai.toolCall.id": "call_0"}
    outer |= {f"ai.toolCall.{key}": text for key, text in said.items()}
    inner = {"tool.name": name, "tool.call_id": "call_0"}
    within = (at_ms[0] + 1, at_ms[1] - 1)
    return (
        otlp.span(number, 9, name="ai.toolCall", scope="opencode", at_ms=at_ms, attrs=outer),
        otlp.span(number + 1, 9, name="Tool.execute", scope="opencode", at_ms=within, attrs=inner),
    )


def test_a_key_that_comes_with_each_request_makes_no_other_call_one(otlp: Any) -> None:
    one = opencode_tool(otlp, 1, "bash", (0, 100), args='{"command": "ls"}')
    later = opencode_tool(otlp, 3, "bash", (500, 600), args='{"command": "pwd"}')
    of_another = opencode_tool(otlp, 5, "read", (10, 90), args='{"file": "a"}')
    beside = opencode_tool(otlp, 7, "bash", (20, 80), args='{"command": "id"}')  # a subagent's
    spans = (*one, *later, *of_another, *beside)

    for order in (spans, spans[::-1]):
        seen = {int(node.id, 16): node for node in translate(otlp.trace(*order)).observations}
        told_again = {place: node.metadata["same_call_as"] for place, node in seen.items() if node.type == "SPAN"}
        assert {place: int(id_, 16) for place, id_ in told_again.items()} == {2: 1, 4: 3, 6: 5, 8: 7}
        assert [str(seen[place].type) for place in (1, 3, 5, 7)] == ["TOOL"] * 4


def test_of_two_that_tell_of_a_tool_under_one_key_the_richer_gets_what_it_lacks(otlp: Any) -> None:
    said = {"tool.name": "read", "tool.call_id": "c", "input": "a.txt"}
    answered = {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "read", "ai.toolCall.id": "c"}
    seen = translate(
        otlp.trace(
            otlp.span(1, name="Tool.execute", scope="opencode", attrs=said),
            otlp.span(2, name="ai.toolCall", scope="opencode", attrs=answered | {"ai.toolCall.result": '"text"'}),
        )
    ).observations

    [tool] = [node for node in seen if node.type == "TOOL"]
    assert (tool.input, tool.output) == ("a.txt", "text")
