"""Media to Langfuse's media API, before the spans that refer to them: no reference is sent to bytes that never came.

What Langfuse will not take stays in the observation as base64, and is counted. Its storage may be another server than
Langfuse: where that one fails again and again, media stay in their place too, so that it can not hold up the traces.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from otel_bridge.component import Host
from otel_bridge.errors import ConsumeError, ParkedError, RetryableError
from otel_bridge.exporters.langfuse.media import Lifted, Link, Medium, lift
from otel_bridge.model import Observation
from otel_bridge.moments import iso

if TYPE_CHECKING:
    from otel_bridge.exporters.langfuse.client import Client

PATH = "/api/public/media"
AT_ONCE = 4
MAX_LINKED = 20_000
STORAGE_ATTEMPTS = 3  # deliveries that wait for the storage, before one goes without it
STORAGE_PAUSE_S = 300.0


@dataclass(slots=True)
class MediaOutcome:
    """What became of the media of one delivery: ids of those that stay in their place, by reason; errors to raise."""

    refused: dict[str, str] = field(default_factory=dict)
    errors: list[ConsumeError] = field(default_factory=list)
    storage: list[str] = field(default_factory=list)


class Uploads:
    """The media of one project's observations; is_forgetful: each time anew, also what is there already."""

    def __init__(self, client: "Client", host: Host, *, is_forgetful: bool = False) -> None:
        self._client = client
        self._host = host
        self._max_linked = 0 if is_forgetful else MAX_LINKED
        self._linked: OrderedDict[Link, None] = OrderedDict()
        self._storage_failures = 0
        self._storage_again_s = 0.0

    async def settle(
        self, found: Lifted, observations: Sequence[Observation]
    ) -> tuple[list[Observation], Counter[str]]:
        """Upload what was found; gives the observations to send, and how many media stayed in them, by reason.

        Raises:
            RetryableError, ParkedError: try again with the same observations, of which nothing was sent.
        """
        outcome = MediaOutcome()
        limit = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for medium in found.media.values():
                tasks.create_task(self._bring(medium, found.links[medium.id], outcome, limit))
        self._judge_storage(outcome)
        if outcome.errors:
            raise outcome.errors[0]
        left = Counter(found.left)
        if not outcome.refused:
            return found.observations, left
        left.update(reason for key, reason in outcome.refused.items() for _ in found.links[key])
        return lift(list(observations), inline=outcome.refused).observations, left

    def _judge_storage(self, outcome: MediaOutcome) -> None:
        if not outcome.storage:
            return
        self._storage_failures += 1
        if self._storage_failures < STORAGE_ATTEMPTS:
            outcome.errors.append(RetryableError(outcome.storage[0]))
            return
        self._storage_again_s = time.monotonic() + STORAGE_PAUSE_S
        self._host.log.warning(
            "media stay in the observations: the storage that Langfuse named can not be reached from here",
            error=outcome.storage[0],
            again_in_s=STORAGE_PAUSE_S,
        )

    async def _bring(
        self, medium: Medium, links: Sequence[Link], outcome: MediaOutcome, limit: asyncio.Semaphore
    ) -> None:
        """One medium to all the places where it stands; never raises what a server said."""
        async with limit:
            for link in links:
                if link in self._linked:
                    continue
                try:
                    reason = await self._link(medium, link, outcome)
                except RetryableError as error:
                    outcome.errors.append(error)
                    return
                except ParkedError as error:
                    if error.reason == "unauthorized":
                        outcome.errors.append(error)
                        return
                    reason = "not_offered"
                except ConsumeError:
                    reason = "refused"
                if reason is not None:
                    outcome.refused[medium.id] = reason
                    return
                self._remember(link)

    async def _link(self, medium: Medium, link: Link, outcome: MediaOutcome) -> str | None:
        """Announce a medium in its place, and send its bytes if the server lacks them; a reason if it can't be."""
        trace_id, observation_id, where, _ = link
        asked: dict[str, Any] = {
            "traceId": trace_id,
            "field": where,
            "contentType": medium.content_type,
            "contentLength": len(medium.content),
            "sha256Hash": medium.digest,
        }
        if observation_id is not None:
            asked["observationId"] = observation_id
        answer = await self._client.json("POST", PATH, asked)
        try:
            told = orjson.loads(answer.body)
            named, url = told["mediaId"], told.get("uploadUrl")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return "unknown_answer"
        if named != medium.id:
            return "unknown_answer"
        if not url:
            return None
        if not _is_address(url):
            return "unknown_answer"
        if time.monotonic() < self._storage_again_s:
            return "storage"
        return await self._put(medium, url, outcome)

    async def _put(self, medium: Medium, url: str, outcome: MediaOutcome) -> str | None:
        began = time.monotonic()
        headers = {"Content-Type": medium.content_type}
        if "storage.googleapis.com" not in url:  # which refuses headers that it did not sign
            headers |= {"x-amz-checksum-sha256": medium.digest, "x-ms-blob-type": "BlockBlob"}
        try:
            answer = await self._client.upload(url, medium.content, headers)
        except ConsumeError as error:
            # the address holds a signature: what is said of it names the host alone
            cause = error.__cause__ or error
            why = getattr(cause, "strerror", None) or type(cause).__name__
            outcome.storage.append(f"media storage at {urlsplit(url).hostname}: {why}")
            return "storage"
        await self._client.json(
            "PATCH",
            f"{PATH}/{medium.id}",
            {
                "uploadedAt": iso(time.time_ns()),
                "uploadHttpStatus": answer.status,
                "uploadTimeMs": int((time.monotonic() - began) * 1000),
            },
        )
        self._storage_failures = 0
        self._host.counters.add("media_uploaded", exporter=self._host.id)
        return None

    def _remember(self, link: Link) -> None:
        self._linked[link] = None
        while len(self._linked) > self._max_linked:
            self._linked.popitem(last=False)


def _is_address(url: object) -> bool:
    """Whether bytes can be sent there by HTTP."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
