"""Whether what Langfuse took can be read there: now and then one of the observations that were delivered is asked for.

Langfuse says 200 when it has put what it was sent in a queue. What its worker or its database does with it then, no
answer says. Nothing is sent again because of this: an operator does that, with `otel-bridge replay`.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import orjson

from otel_bridge.errors import ConsumeError
from otel_bridge.exporters.langfuse import versions

if TYPE_CHECKING:
    from otel_bridge.component import Host
    from otel_bridge.exporters.langfuse.client import Client
    from otel_bridge.model import Observation

ASK_EVERY_S = 10.0
LATE_S = 300.0
GIVE_UP_S = 3600.0  # what is not there by then does not come any more
MAX_ROWS = 100
READ_V4 = "/api/public/v2/observations"
READ = "/api/public/observations"
LAG = "readback_lag_s"


@dataclass(slots=True, frozen=True)
class _Sample:
    trace_id: str
    observation_id: str
    delivered_s: float


class Readback:
    """Asks for one observation at a time, every `every_s`; the counter `readback_lag_s` says how long it took to be
    there, or how long it is not there yet."""

    def __init__(self, client: "Client", host: "Host", every_s: float) -> None:
        self._client = client
        self._host = host
        self._every_s = every_s
        self._sample: asyncio.Future[_Sample] | None = None

    def delivered(self, observations: "list[Observation]") -> None:
        """The server has taken these; if it is time, one of them is asked for."""
        if observations and self._sample is not None and not self._sample.done():
            one = observations[-1]
            self._sample.set_result(_Sample(one.trace_id, one.id, time.monotonic()))

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            self._sample = asyncio.get_running_loop().create_future()
            await self._follow(await self._sample)
            await asyncio.sleep(self._every_s)

    async def _follow(self, sample: _Sample) -> None:
        counters, exporter = self._host.counters, self._host.id
        is_late = False
        while True:
            there = await self._is_there(sample)
            lag_s = time.monotonic() - sample.delivered_s
            if there is not None:
                counters.set(LAG, round(lag_s), exporter=exporter)
            if there:
                break
            if lag_s >= LATE_S and not is_late:
                is_late = True
                counters.add("readback_late", exporter=exporter)
                self._host.log.warning(
                    "what Langfuse said 200 to can not be read there: look at its worker and its database;"
                    " `otel-bridge replay` sends again what is lost there",
                    trace=sample.trace_id,
                    observation=sample.observation_id,
                    since_s=round(lag_s),
                )
            if lag_s >= GIVE_UP_S:
                counters.add("readback_lost", exporter=exporter)
                return
            await asyncio.sleep(min(ASK_EVERY_S, self._every_s))
        if is_late:
            self._host.log.info("what was late can be read now", after_s=round(lag_s))

    async def _is_there(self, sample: _Sample) -> bool | None:
        """None where nobody can tell: Langfuse does not answer, or not such questions."""
        try:
            there = await is_there(self._client, sample.trace_id, sample.observation_id)
        except ConsumeError:
            there = None
        if there is None:
            self._host.counters.add("readback_failures", exporter=self._host.id)
        return there


async def is_there(client: "Client", trace_id: str, observation_id: str) -> bool | None:
    """Whether an observation can be read; None where what is answered is no answer to that.

    Raises:
        RetryableError, RefusedError, TooLargeError, ParkedError: as a delivery does.
    """
    path = READ_V4 if await client.version() >= versions.V4 else READ
    answer = await client.get(f"{path}?{urlencode({'traceId': trace_id, 'limit': MAX_ROWS})}")
    try:
        rows = orjson.loads(answer.body)["data"]
        return bool(rows) if len(rows) >= MAX_ROWS else any(row["id"] == observation_id for row in rows)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
