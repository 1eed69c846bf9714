"""FastAPI that streams answers as server-sent events: each request is a trace, and says which to whoever asked.

Who goes away before the end has abandoned the request, which is no error.

    $ PORT=8000 python examples/streaming_api.py &
    $ curl -N -D - -H 'X-Session-Id: s-1' 'http://127.0.0.1:8000/ask?question=Lisbon'
    HTTP/1.1 200 OK
    date: Sat, 28 Nov 2026 03:08:39 GMT
    server: uvicorn
    content-type: text/event-stream; charset=utf-8
    traceresponse: 00-4e753523783f65c8704718890bb486fd-6b588ca78efc08b4-03
    x-trace-id: 4e753523783f65c8704718890bb486fd
    transfer-encoding: chunked

    data: What
    …
"""

import asyncio
import os
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from otel_bridge.sdk import agent_run, answered, install, llm_call, stream
from otel_bridge.sdk.web import TraceMiddleware

app = FastAPI()
app.add_middleware(TraceMiddleware)


async def model(question: str) -> AsyncIterator[str]:
    """A pretended one; "for ever" is a question that it never stops to answer."""
    words = f"What matters about {question} is where you start.".split()
    while True:
        for word in words:
            await asyncio.sleep(0.01)
            yield f"{word} "
        if question != "for ever":
            return


async def answer(question: str) -> AsyncIterator[str]:
    async with agent_run("guide", task=question), llm_call("gpt-4o-mini", provider="openai", messages=question) as call:
        said = []
        async for word in model(question):
            said.append(word)
            yield f"data: {word}\n\n"
        call.tags.update(answered(output="".join(said), input_tokens=12, output_tokens=len(said)))


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    return StreamingResponse(stream(answer(question), "answer"), media_type="text/event-stream")


if __name__ == "__main__":
    install(service="guide")
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
