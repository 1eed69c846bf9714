"""A page of Streamlit under Streamlit's own AppTest, in an environment of its own: it is too big for everybody's."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import EXAMPLES, Bench

PYTHON = Path(__file__).parents[2] / ".tools/streamlit/bin/python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON.exists(), reason="Streamlit is not installed: make test-streamlit"),
]

PROGRAM = """
import json, sys
from streamlit.testing.v1 import AppTest

def tell():
    assert not page.exception, page.exception[0].value
    told = {"said": [part.value for message in page.chat_message for part in message.markdown]}
    told["thumbs"] = [thumbs.value for thumbs in page.feedback]
    told["thread_id"] = page.session_state.thread_id
    told["trace_id"] = page.session_state.trace_id if "trace_id" in page.session_state else None
    print(json.dumps(told))

page = AppTest.from_file(sys.argv[1], default_timeout=60).run()
tell()
for question in ("Lisbon", "Oslo"):
    page.chat_input[0].set_value(question).run()
    tell()
for at, thumb in enumerate((1, 0)):
    page.feedback[at].set_value(thumb).run()
page.run()
tell()
try:
    page.chat_input[0].set_value("for ever").run(timeout=2)
except RuntimeError as left:
    print(json.dumps(str(left)))
"""


@pytest.fixture
def page(bench: Bench, streaming_api: int) -> list[Any]:
    """What the program told of the page, while the server that it asked is still there."""
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM, EXAMPLES / "streamlit_chat.py"],
        env=bench.environ(GUIDE_URL=f"http://127.0.0.1:{streaming_api}"),
        cwd=bench.folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_page_and_its_server_are_one_trace_in_the_session_of_the_chat(bench: Bench, page: list[Any]) -> None:
    """Two questions, each with a thumb, and a third whose answer is still coming when the page is left."""
    empty, first, second, rated, left = page
    lisbon, oslo = (f"What matters about {city} is where you start." for city in ("Lisbon", "Oslo"))
    thread = empty["thread_id"]
    assert empty == {"said": [], "thumbs": [], "thread_id": thread, "trace_id": None}
    assert (first["said"], first["thumbs"], first["thread_id"]) == (["Lisbon", lisbon], [None], thread)
    assert (second["said"], second["thumbs"], second["thread_id"]) == (
        ["Lisbon", lisbon, "Oslo", oslo],
        [None] * 2,
        thread,
    )
    assert first["trace_id"] != second["trace_id"]
    assert rated == {**second, "thumbs": [1, 0]}
    assert left == "AppTest script run timed out after 2(s)"

    for told, city, thumb in ((first, "Lisbon", 1), (second, "Oslo", 0)):
        seen = bench.trace(f"id:{told['trace_id']}", 5, after=lambda seen: bool(seen.said["scores"]))
        whole = ["question", "GET /ask", "answer", "invoke_agent guide", "chat gpt-4o-mini"]
        assert [found["name"] for found in seen.observations if not found["name"].startswith("fastapi.")] == whole
        assert [seen[name]["resource"]["service.name"] for name in whole] == ["page", *["guide"] * 4]
        assert seen["GET /ask"]["parentObservationId"] == seen["question"]["id"]
        assert (seen.said["sessionId"], seen.said["input"], seen.said["errorCount"]) == (thread, city, 0)
        [score] = seen.said["scores"]
        assert (score["name"], score["value"], score["observationId"]) == (
            "user-feedback",
            thumb,
            seen["GET /ask"]["id"],
        )

    seen = bench.trace(f'session:{thread} "for ever"', 5)
    outcomes = {found["name"]: found["metadata"].get("otel_bridge.outcome") for found in seen.observations}
    assert (seen.said["errorCount"], outcomes["question"], outcomes["answer"]) == (0, "abandoned", "abandoned")
