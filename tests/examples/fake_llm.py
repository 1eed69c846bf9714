"""A language model on loopback that speaks OpenAI's protocol: it calls the first tool it is given, once, and then says
how many questions it was asked.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

NUMBERS = count(1)


class Answer(BaseHTTPRequestHandler):
    """`POST …/chat/completions`, whole or streamed."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = f"answer {sum(each['role'] == 'user' for each in asked['messages'])}"
        usage = {"prompt_tokens": 10 * len(asked["messages"]), "completion_tokens": 2}
        usage["total_tokens"] = sum(usage.values())
        whole = {"id": f"c-{next(NUMBERS)}", "created": 1, "model": f"{asked['model']}-2024-07-18", "usage": usage}
        if asked.get("stream"):
            parts = [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None} for word in said.split()]
            parts.append({"index": 0, "delta": {}, "finish_reason": "stop"})
            chunks = [{**whole, "object": "chat.completion.chunk", "usage": None, "choices": [part]} for part in parts]
            chunks.append({**whole, "object": "chat.completion.chunk", "choices": []})
            body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
            self._send("text/event-stream", body)
        else:
            message: dict[str, Any] = {"role": "assistant", "content": said}
            tools = [] if any(each["role"] == "tool" for each in asked["messages"]) else asked.get("tools") or []
            if tools:
                call = {"name": tools[0]["function"]["name"], "arguments": '{"city": "Lisbon"}'}
                message |= {"content": None, "tool_calls": [{"id": "call-1", "type": "function", "function": call}]}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tools else "stop"}
            self._send("application/json", json.dumps({**whole, "object": "chat.completion", "choices": [choice]}))

    def _send(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_args: object) -> None:
        """Nothing."""


@contextmanager
def llm() -> Iterator[str]:
    """Its address, as `OPENAI_BASE_URL` has it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
