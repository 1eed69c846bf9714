"""A page of Streamlit that asks another server: page and server are one trace, a chat is a session, a thumb is a score.

    $ pip install streamlit
    $ PORT=8000 python examples/streaming_api.py &
    $ streamlit run examples/streamlit_chat.py

Once "Oslo" was asked there, and its answer got a thumb down:

    $ otel-bridge trace 30f2
    question  30f206d430c5f8adf2bb298ce4f16d40
    128 ms · 7 observations · 20 tokens · <$0.0001
    session: 2f671711a15d44d19bfc977ce0164b31
    input: Oslo
    output: What matters about Oslo is where you start.

    7e7c SPAN question  128 ms
    bc54 └─ SPAN GET /ask  113 ms
            │  user-feedback = 0
    e922    ├─ SPAN fastapi.dependencies  1 ms
    1409    └─ SPAN fastapi.endpoint  1 ms
    1948       └─ SPAN answer  105 ms
    76a3          └─ AGENT invoke_agent guide  105 ms
    06ec             └─ GENERATION chat gpt-4o-mini  104 ms · gpt-4o-mini · 20 tokens · <$0.0001
"""

import os
import uuid
from collections.abc import Iterator

import requests
import streamlit as st

from otel_bridge.sdk import correlation, feedback, install, stream
from otel_bridge.sdk.web import outgoing

GUIDE = os.environ.get("GUIDE_URL", "http://127.0.0.1:8000")

install(service="page")  # Streamlit runs all of this at every click; the second call changes nothing
state = st.session_state
state.setdefault("thread_id", uuid.uuid4().hex)
state.setdefault("turns", [])
state.setdefault("thumbs", {})


def answer(question: str) -> Iterator[str]:
    """The words as they come; the trace that they belong to is known before the first."""
    asked = requests.get(f"{GUIDE}/ask", {"question": question}, headers=outgoing(), stream=True, timeout=60)
    with asked as response:
        state.trace_id, state.answered_by = response.headers["x-trace-id"], response.headers["traceresponse"]
        response.raise_for_status()
        for line in response.iter_lines():
            if line:
                yield str(line, "utf-8").removeprefix("data: ")


def thumbs(answered_by: str) -> None:
    """Tell of a thumb once, however often the page is run; who has another opinion later gives a second score."""
    thumb = st.feedback("thumbs", key=answered_by)
    if thumb is not None and state.thumbs.get(answered_by) != thumb:
        state.thumbs[answered_by] = thumb
        feedback("up" if thumb else "down", on=answered_by)


st.title("Where to?")
for question, said, answered_by in state.turns:
    st.chat_message("user").write(question)
    with st.chat_message("assistant"):
        st.write(said)
        thumbs(answered_by)

if question := st.chat_input("A city"):
    st.chat_message("user").write(question)
    with st.chat_message("assistant"):
        with correlation(session=state.thread_id):
            said = st.write_stream(stream(answer(question), "question", {"input.value": question}))
        state.turns.append((question, said, state.answered_by))
        thumbs(state.answered_by)
