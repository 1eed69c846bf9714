"""LangGraph waits for somebody's answer, and goes on with it in another process: one trace, one session.

$ python examples/approval.py trip-1
trip-1 waits: Book Lisbon for eight?
$ python examples/approval.py trip-1 yes
trip-1: Book Lisbon for eight? yes
"""

import asyncio
import sys
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from otel_bridge.sdk import answered, install, llm_call, span
from otel_bridge.sdk.langgraph import graph_run


class Trip(TypedDict, total=False):
    city: str
    price: int
    answer: str


@span("plan")
async def plan(_trip: Trip) -> Trip:
    async with llm_call("gpt-4o-mini", provider="openai", messages="Lisbon or Oslo?") as call:  # a pretended one
        call.tags.update(answered(output="Lisbon", input_tokens=12, output_tokens=1))
    return {"city": "Lisbon"}


@span("quote")
def quote(_trip: Trip) -> Trip:
    return {"price": 230}


@span("approve")
async def approve(trip: Trip) -> Trip:
    return {"answer": interrupt(f"Book {trip['city']} for eight?")}


def trip_graph(saver: AsyncSqliteSaver) -> Any:
    graph = StateGraph(Trip)
    for name, node in {"plan": plan, "quote": quote, "approve": approve}.items():
        graph.add_node(name, node)
    graph.add_edge(START, "plan")
    graph.add_edge(START, "quote")  # beside `plan`
    graph.add_edge(["plan", "quote"], "approve")
    graph.add_edge("approve", END)
    return graph.compile(checkpointer=saver, name="trip")


async def main(thread: str, answer: str | None) -> None:
    install(service="trips")
    async with AsyncSqliteSaver.from_conn_string("trips.db") as saver:
        graph = trip_graph(saver)
        async with graph_run(graph, {"configurable": {"thread_id": thread}}) as run:
            trip = await graph.ainvoke(Command(resume=answer) if answer else {}, run.config)
    if waiting := trip.get("__interrupt__"):
        print(f"{thread} waits: {waiting[0].value}")
    else:
        print(f"{thread}: Book {trip['city']} for eight? {trip['answer']}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
