"""What 500 slow clients cost the others: p50 and p99 of good requests without and with them, as a ratio.

python tests/bench/bench_slow_clients.py

Two bridges run, one of them has the slow clients, and good requests go to one and the other in turns: what else the
machine does meets both alike. CPU is what each bridge takes, in percent of a core.
At the HTTP door a third dribble their headers, a third their bodies, and a third stop after a part; at the gRPC door
all stop within a message. Who is let go comes again.
"""

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import quantiles

from bench_receivers import EXPORT, Send, over_grpc, over_http, request

SLOW = 500
COME_S = 4.0  # in which they come one by one: that 500 do something at once is another matter
MEASURE_S = 10.0
EVERY_S = 0.002  # between good requests: they come when they come, and not because the one before was answered
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
BODY = HEAD + b"Content-Length: 1000000\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def stalled_call() -> bytes:
    headers = {":method": "POST", ":scheme": "http", ":path": EXPORT, ":authority": "localhost", "te": "trailers"}
    headers |= {"content-type": "application/grpc"}
    literals = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )
    started = b"\0" + (1_000_000).to_bytes(4, "big") + b"\n\0\0"
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, literals) + frame(0, 0, 1, started)
    )


HTTP = [(b"P", b"O"), (BODY, bytes(10)), (BODY + bytes(1000), b"")]  # at first, and once a second
GRPC = [(stalled_call(), b"")]


async def be_slow(port: int, after_s: float, first: bytes, then: bytes, connected: asyncio.Semaphore) -> None:
    await asyncio.sleep(after_s)
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            connected.release()
            gone = asyncio.ensure_future(reader.read())
            try:
                while not gone.done():
                    writer.write(then)
                    await asyncio.wait([gone], timeout=1)
            finally:
                gone.cancel()
                writer.transport.abort()


async def slow(port: int, ways: list[tuple[bytes, bytes]]) -> None:
    """The child: slow clients, until its input ends."""
    connected = asyncio.Semaphore(0)
    clients = [
        asyncio.create_task(be_slow(port, COME_S * n / SLOW, *ways[n % len(ways)], connected)) for n in range(SLOW)
    ]
    for _ in clients:
        await connected.acquire()
    print("connected", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


class Child:
    def __init__(self, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.first = self.line()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def cpu_s(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        return float(self.line())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


async def measure(sends: list[Send]) -> list[list[float]]:
    took_s: list[list[float]] = [[] for _ in sends]
    until_s = time.perf_counter() + MEASURE_S
    while time.perf_counter() < until_s:
        for send, took in zip(sends, took_s, strict=True):
            began_s = time.perf_counter()
            await send()
            took.append(time.perf_counter() - began_s)
            await asyncio.sleep(EVERY_S)
    return took_s


async def main() -> None:
    body = request(16, 500).SerializeToString()
    print(f"{'door':6}{'clients':>12}{'requests':>10}{'p50 ms':>10}{'p99 ms':>10}{'CPU %':>8}")
    bridges = [Child(str(Path(__file__).with_name("bench_receivers.py")), "serve") for _ in range(2)]
    for door, way in (("grpc", over_grpc), ("http", over_http)):
        urls = [bridge.first.split()[("grpc", "http").index(door)] for bridge in bridges]
        content = "Content-Type: application/x-protobuf\r\n"
        async with way(urls[0], body, content) as alone, way(urls[1], body, content) as among:
            await asyncio.gather(alone(), among())
            slow_ones = Child(__file__, "slow", door, urls[1].rpartition(":")[2])
            before_s = [bridge.cpu_s() for bridge in bridges]
            took_s = await measure([alone, among])
            cpu = [(bridge.cpu_s() - was_s) / MEASURE_S for bridge, was_s in zip(bridges, before_s, strict=True)]
        cuts = [quantiles(took, n=100) for took in took_s]
        for number, who in enumerate(("good alone", f"{SLOW} slow")):
            p50, p99 = cuts[number][49] * 1000, cuts[number][98] * 1000
            print(f"{door:6}{who:>12}{len(took_s[number]):10}{p50:10.2f}{p99:10.2f}{cpu[number]:8.1%}")
        print(f"{door:6}{'ratio':>12}{'':10}{cuts[1][49] / cuts[0][49]:10.2f}{cuts[1][98] / cuts[0][98]:10.2f}")
        slow_ones.end()
    for bridge in bridges:
        bridge.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["slow"]:
        asyncio.run(slow(int(sys.argv[3]), HTTP if sys.argv[2] == "http" else GRPC))
    else:
        asyncio.run(main())
