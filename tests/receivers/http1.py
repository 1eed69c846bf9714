"""HTTP/1.1 as somebody says it who may not mean well: exactly the bytes that a test wants."""

import asyncio
import json
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


def spans(*names: str) -> ExportTraceServiceRequest:
    made = [
        {
            "trace_id": b"t" * 16,
            "span_id": (number + 1).to_bytes(8, "big"),
            "name": name,
            "start_time_unix_nano": 10,
            "end_time_unix_nano": 20,
        }
        for number, name in enumerate(names)
    ]
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": made}]}])


ONE = spans("one").SerializeToString()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> str:
        if self.headers["content-type"] == JSON:
            text: str = json.loads(self.body).get("message", "")
            return text
        return str(Status.FromString(self.body).message)


class Client:
    """A connection that says exactly what it is told to."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(*self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    def say(self, raw: bytes) -> None:
        self.writer.write(raw)

    async def post(self, body: bytes, path: str = "/v1/traces", method: str = "POST", **headers: str) -> Answer:
        self.say(request(body, path, method, **headers))
        return await self.answer()

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split()[1]), headers, body)

    def reset(self) -> None:
        """Go away so that the other side gets an error."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self) -> bool:
        return await self.reader.read() == b""


def request(body: bytes, path: str = "/v1/traces", method: str = "POST", **headers: str) -> bytes:
    given = {"host": "localhost:4318", "content_type": PROTOBUF, "content_length": str(len(body))} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
