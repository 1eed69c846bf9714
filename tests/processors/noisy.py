"""An agent as services are built: FastAPI, LangGraph, SQLAlchemy, httpx and OpenAI's client, each with the
instrumentation that is published for it. The second service is asked over HTTP; both have a provider of their own.

python -m tests.processors.noisy OUT [one|two]
"""

import asyncio
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, TypedDict

import httpx
import sqlalchemy
import uvicorn
from fastapi import FastAPI
from langgraph.graph import END, START, StateGraph
from openai import OpenAI
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.examples.fake_llm import llm as fake_llm

KEPT = InMemorySpanExporter()


class State(TypedDict, total=False):
    question: str
    found: str
    answer: str


def provider(service: str) -> TracerProvider:
    made = TracerProvider(resource=Resource({"service.name": service}))
    made.add_span_processor(SimpleSpanProcessor(KEPT))
    return made


def agent(service: str, llm: str, other: str | None) -> FastAPI:
    """`POST /chat`: two queries, a call of the other service if there is one, and a call of a model."""
    engine = sqlalchemy.create_engine("sqlite://")
    client = OpenAI(base_url=llm, api_key="none")

    def retrieve(state: State) -> State:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
            connection.execute(sqlalchemy.text("SELECT 2"))
        if other is not None:
            with httpx.Client() as http:
                return {"found": http.post(f"{other}/chat", json={"question": state["question"]}).text}
        return {"found": "nothing"}

    def respond(state: State) -> State:
        messages: Any = [{"role": "user", "content": f"{state['question']} {state['found']}"}]
        said = client.chat.completions.create(model="gpt-4o", messages=messages)
        return {"answer": said.choices[0].message.content or ""}

    builder = StateGraph(State)
    builder.add_node("retrieve", retrieve)
    builder.add_node("respond", respond)
    builder.add_edge(START, "retrieve")
    builder.add_edge("retrieve", "respond")
    builder.add_edge("respond", END)
    graph = builder.compile(name=service)
    app = FastAPI()

    @app.post("/chat")
    async def chat(body: dict[str, Any]) -> dict[str, Any]:
        with trace.get_tracer("app").start_as_current_span(f"invoke_agent {service}") as span:
            span.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": service})
            span.set_attributes({"session.id": "s-1", "input.value": body["question"]})
            said = await asyncio.to_thread(graph.invoke, {"question": body["question"]})
            span.set_attribute("output.value", said["answer"])
        return {"answer": said["answer"]}

    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider(service))
    return app


def served(app: FastAPI) -> tuple[uvicorn.Server, str]:
    """On a free port, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    until = time.monotonic() + 30
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    return server, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


def main(out: Path, services: int) -> None:
    trace.set_tracer_provider(provider("libraries"))
    for instrumentor in (HTTPXClientInstrumentor, LangChainInstrumentor, OpenAIInstrumentor, SQLAlchemyInstrumentor):
        instrumentor().instrument()
    with fake_llm() as model:
        other = None
        servers = []
        if services == 2:
            server, other = served(agent("researcher", model, None))
            servers.append(server)
        server, url = served(agent("planner", model, other))
        servers.append(server)
        asked = urllib.request.Request(
            f"{url}/chat", b'{"question": "where to?"}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked) as answer:
            assert answer.status == 200
        for server in servers:
            server.should_exit = True
        time.sleep(0.2)
    out.write_bytes(encode_spans(list(KEPT.get_finished_spans())).SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]), 2 if sys.argv[2:] == ["two"] else 1)
