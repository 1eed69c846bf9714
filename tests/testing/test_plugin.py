"""The test kit as its users have it: a conftest.py that asks for it, and tests that pass, or fail and say why."""

from importlib.metadata import entry_points

import pytest
from opentelemetry import trace

from otel_bridge.testing.recording import recording
from tests.providers import Around

pytest_plugins = ["pytester"]

CONFTEST = """
pytest_plugins = ["otel_bridge.testing.plugin"]
"""
AGENT = """
import asyncio
from opentelemetry import trace
from otel_bridge.sdk import agent_run, answered, correlation, event, install, llm_call, score, tool

tracer = trace.get_tracer("agent")  # at import, before any fixture

@tool("look_up")
async def look_up(topic):
    await asyncio.sleep(0.01)
    return topic

async def main():
    install()
    async with correlation(session="s-1"), agent_run("planner", task="cities"):
        with tracer.start_as_current_span("plain"):
            pass
        await asyncio.gather(look_up("oslo"), look_up("lisbon"))
        async with llm_call("gpt-4o-mini", provider="openai", messages="which?") as call:
            call.tags.update(answered(output="Oslo, as it is near", input_tokens=12, output_tokens=9))
        score("helpful", 0.9)
"""
TESTS = """
import asyncio, os, re, urllib.request
import agent
from otel_bridge.testing.tree import expect

TOOLS = [expect("execute_tool look_up", type="tool"), expect("execute_tool look_up", type="tool")]

def test_passes(bridge):
    asyncio.run(agent.main())
    answer = dict(model="gpt-4o-mini", usage={"input": 12, "output": 9}, input=..., output=re.compile("^Oslo"))
    root = bridge.assert_trace(
        expect("invoke_agent planner", expect("plain", alone=True), *TOOLS, expect("chat gpt-4o-mini", **answer),
            type="agent", session="s-1", input="cities"))
    assert root.name == "invoke_agent planner"
    assert [score.name for score in bridge.scores] == ["helpful"]

def test_fails(bridge):
    asyncio.run(agent.main())
    bridge.assert_trace(
        expect("invoke_agent planner", expect("chat gpt-4o-mini", usage={"input": 13}, level="error"),
            *TOOLS, expect("execute_tool book", type="tool")))

def test_each_has_its_own(bridge):
    with agent.tracer.start_as_current_span("one"):
        pass
    assert [top.name for top in bridge.traces] == ["one"]
    assert os.environ["LANGFUSE_PUBLIC_KEY"] == "pk-lf-test"

def test_fake(fake_langfuse):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from otel_bridge.embedded import LangfuseSpanExporter
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(LangfuseSpanExporter()))
    provider.get_tracer("a").start_span("sent").end()
    assert [seen["name"] for seen in fake_langfuse.observations.values()] == ["sent"]
"""


@pytest.mark.slow
def test_a_user_of_the_kit(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(agent=AGENT, test_agent=TESTS)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: the trace is not as expected (5 differences):",
            "E*invoke_agent planner",
            "E*    chat gpt-4o-mini",
            "E* -     level: 'ERROR'",
            "E* +     level: 'DEFAULT'",
            "E* -     usage.input: 13",
            "E* +     usage.input: 12",
            "E* -   execute_tool book · TOOL",
            "E* +   plain · SPAN",
        ]
    )


def test_a_provider_around_the_sdks_is_recorded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Logfire's."""
    provider = Around()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    with recording() as recorded:
        provider.get_tracer("agent").start_span("a").end()
    assert [span.name for span in recorded.spans] == ["a"]


def test_who_merely_has_it_installed_gets_nothing() -> None:
    """pytest imports every entry point of this group, in every run."""
    assert not [found for found in entry_points(group="pytest11") if found.value.startswith("otel_bridge")]
