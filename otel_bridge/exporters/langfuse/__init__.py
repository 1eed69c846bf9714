"""Deliver settled traces to Langfuse, the way its version takes them.

From server 4 on and on 3.22 to 3.x over its OTLP endpoint (`otlp`), before that by its ingestion API (`ingestion`);
scores by the API that the version has (`scores`). Queue, retry, bisecting and batching are put around it by delivery.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from otel_bridge.component import Host, Settle, Takes, exporter
from otel_bridge.config import Bytes, Config, Seconds, SecretStr
from otel_bridge.errors import ConsumeError, ParkedError, RefusedError, RetryableError, TooLargeError
from otel_bridge.exporters.langfuse import versions
from otel_bridge.exporters.langfuse.taken import Taken
from otel_bridge.model import Observation, Score, Translation
from otel_bridge.outbound import Address, Reach, http
from otel_bridge.tasks import owned_tasks

if TYPE_CHECKING:
    from otel_bridge.exporters.langfuse.client import Client
    from otel_bridge.exporters.langfuse.ingestion import Event
    from otel_bridge.exporters.langfuse.uploads import Uploads
    from otel_bridge.exporters.langfuse.versions import Version

MAX_REQUEST = 7 << 19  # uncompressed; Langfuse Cloud takes 5 MB
MAX_INGESTION_ANSWER = 4 << 20  # it says a line about every event
NO_LISTS_FOR_S = 3600.0  # a server that refuses lists of scores is asked again after this
IN_THREAD_BYTES = 64 << 10  # encoding more than this would hold up the loop


class LangfuseConfig(Config):
    """One project. `environment` overrules what spans say; `max_request` is uncompressed.

    browser_url: the address for people, where that is another one; links to traces begin with it.
    media: take images, sound and files out of observations and upload them; else they stay in them as base64.
    read_back: so often one of the observations that were delivered is asked for, to see that Langfuse shows it.
    """

    base_url: Address = "https://cloud.langfuse.com"
    public_key: Annotated[str, Field(min_length=1)]
    secret_key: Annotated[SecretStr, Field(min_length=1)]
    browser_url: Annotated[Address | None, BeforeValidator(lambda said: said or None)] = None
    environment: str | None = None
    timeout: Annotated[Seconds, Field(gt=0)] = 30
    max_request: Annotated[Bytes, Field(ge=64 << 10)] = MAX_REQUEST
    media: bool = True
    read_back: Seconds | None = None


@exporter(LangfuseConfig, takes=Takes.SETTLED)
async def langfuse(config: LangfuseConfig, host: Host) -> AsyncIterator[Settle]:
    """Traces, observations and scores to a Langfuse project, cloud or self-hosted, server 2 to 4."""
    from otel_bridge.exporters.langfuse.client import Client

    reach = Reach()
    async with AsyncExitStack() as stack:
        taken = stack.enter_context(Taken.kept(_file(config, host), host.log))
        connections = await stack.enter_async_context(http(config.timeout, reach.note))
        storage = await stack.enter_async_context(http(config.timeout, reach.check))
        tasks = await stack.enter_async_context(owned_tasks())
        client = Client(config, connections, storage)
        host.probe = partial(_known, client, host, config.browser_url or config.base_url)
        project = Project(config, client, host, taken)
        forgetful = Project(config, client, host, None)

        async def settle(translation: Translation) -> None:
            await (forgetful if translation.again else project).settle(translation)

        if config.read_back is None:
            yield settle
            return
        from otel_bridge.exporters.langfuse.readback import Readback

        readback = Readback(client, host, config.read_back)
        tasks.create_task(readback.run(), name=f"read back:{host.id}")

        async def settle_and_look(translation: Translation) -> None:
            await settle(translation)
            readback.delivered(translation.observations)

        yield settle_and_look


async def _known(client: "Client", host: Host, browser_url: str) -> Mapping[str, Any]:
    """What Langfuse says of itself and of the project, asked before there is anything to deliver.

    Raises:
        ParkedError: it is none, or does not know the keys.
        RetryableError: it does not answer now.
    """
    version = ".".join(map(str, await client.version()))
    project = await client.project()
    if project is None:
        host.log.info("the server does not name the project of the keys", to=client.base_url, server=version)
        return {"server": version}
    host.log.info("the keys are good", project=project.name, id=project.id, to=client.base_url, server=version)
    said = {"id": project.id, "name": project.name}
    return {"server": version, "project": said, "trace_url": project.trace_url(browser_url)}


def _file(config: LangfuseConfig, host: Host) -> Path:
    """Of one project: what another has taken says nothing of it."""
    of = blake2b(f"{host.id}\n{config.base_url}\n{config.public_key}".encode(), digest_size=8).hexdigest()
    return host.data_dir / f"langfuse-taken-{of}.json"


class Project:
    """The way of a translation to one project: observations first, then the scores on them.

    taken: None where all is to come again, media too, as what was taken may have been deleted since.
    """

    def __init__(self, config: LangfuseConfig, client: "Client", host: Host, taken: Taken | None) -> None:
        self._config = config
        self._client = client
        self._host = host
        self._is_forgetful = taken is None
        self._taken = Taken(limit=0) if taken is None else taken
        self._uploads: Uploads | None = None
        self._no_lists_until_s = 0.0
        self._spoken_of: Version | None = None

    async def settle(self, translation: Translation) -> None:
        """Deliver all of it, or raise; what was taken before it raised is not sent again when it comes again."""
        version = await self._client.version()
        if version != self._spoken_of:
            self._spoken_of = version
            self._host.log.info("delivering", to=self._config.base_url, server=".".join(map(str, version)))
        if version < versions.OTLP:
            shown, left = await self._without_media(translation.observations, version)
            await self._ingest_all(replace(translation, observations=shown))
            self._count_media(left)
            return
        fresh = self._taken.without(translation.observations)
        if fresh:
            shown, left = await self._without_media(fresh, version)
            await self._send_spans(replace(translation, observations=shown), version)
            self._count_media(left)
        scores = self._taken.without(translation.scores)
        if scores:
            try:
                await self._send_scores(scores, version)
            except (ConsumeError, asyncio.CancelledError):  # it is cancelled where a bridge ends over it
                self._taken.add(translation.observations)
                raise
        self._taken.forget(observation.id for observation in translation.observations)
        self._taken.forget(score.id for score in translation.scores)

    async def _without_media(
        self, observations: list[Observation], version: "Version"
    ) -> "tuple[list[Observation], Counter[str]]":
        """The observations with their media uploaded and referred to, and how many stay in them, by reason."""
        from otel_bridge.exporters.langfuse.media import lift
        from otel_bridge.exporters.langfuse.uploads import Uploads

        if sum(observation.size for observation in observations) > IN_THREAD_BYTES:
            found = await asyncio.to_thread(lift, observations)
        else:
            found = lift(observations)
        if not found.media:
            return observations, found.left
        reason = "off" if not self._config.media else "server" if version < versions.MEDIA else None
        if reason is not None:
            found.left[reason] = sum(map(len, found.links.values()))
            return observations, found.left
        self._uploads = self._uploads or Uploads(self._client, self._host, is_forgetful=self._is_forgetful)
        return await self._uploads.settle(found, observations)

    def _count_media(self, left: "Counter[str]") -> None:
        for reason, count in left.items():
            self._host.counters.add("media_inline", count, exporter=self._host.id, reason=reason)

    async def _send_spans(self, translation: Translation, version: "Version") -> None:
        from otel_bridge.exporters.langfuse import api

        if translation.size > IN_THREAD_BYTES:
            body = await asyncio.to_thread(self._spans, translation, version)
        else:
            body = self._spans(translation, version)
        self._check_size(body, len(translation.observations))
        await self._client.post(
            api.OTLP_PATH,
            body,
            content_type="application/x-protobuf",
            gzip=version >= versions.GZIP,
            headers=api.otlp_headers(version),
        )

    def _spans(self, translation: Translation, version: "Version") -> bytes:
        from otel_bridge.exporters.langfuse.otlp import encode

        return encode(translation, version=version, environment=self._config.environment).SerializeToString()

    async def _send_scores(self, scores: Sequence[Score], version: "Version") -> None:
        from otel_bridge.exporters.langfuse import ingestion
        from otel_bridge.exporters.langfuse.scores import lists

        as_events = ingestion.score_events(scores, version=version)
        if version < versions.SCORE_LISTS or time.monotonic() < self._no_lists_until_s:
            await self._ingest(as_events, len(scores))
            return
        try:
            for some in lists(scores):
                await self._send_list(some)
        except NoListError as refused:
            self._host.log.warning("scores are sent one by one as events: their list was refused", why=str(refused))
            await self._ingest(as_events, len(scores))
            self._no_lists_until_s = time.monotonic() + NO_LISTS_FOR_S

    async def _send_list(self, scores: Sequence[Score]) -> None:
        """Send a list; where some of it were rejected, one by one to find which.

        Raises:
            NoListError: the server refuses the list as a whole.
            RefusedError: some were rejected; the others are remembered as taken.
        """
        from otel_bridge.exporters.langfuse.scores import send

        try:
            rejected = await send(scores, self._client)
        except RefusedError as error:
            raise NoListError(str(error)) from error
        if not rejected:
            self._taken.add(scores)
            return
        if len(scores) > 1:
            for score in scores:
                if not await send([score], self._client):
                    self._taken.add([score])
        raise RefusedError(f"langfuse answered 207: rejected {len(rejected)} of {len(scores)} scores: {rejected[0]}")

    async def _ingest_all(self, translation: Translation) -> None:
        from otel_bridge.exporters.langfuse.ingestion import events

        items = len(translation.observations) + len(translation.scores)
        await self._ingest(events(translation, environment=self._config.environment), items)

    async def _ingest(self, events: "Sequence[Event]", items: int) -> None:
        from otel_bridge.exporters.langfuse import ingestion

        sending = [event for event in events if event["id"] not in self._taken]
        if not sending:
            self._taken.forget(event["id"] for event in events)
            return
        body = ingestion.batch(sending)
        self._check_size(body, items)
        answer = await self._client.post(
            ingestion.PATH, body, content_type="application/json", max_answer=MAX_INGESTION_ANSWER
        )
        ids, error = ingestion.outcome(sending, answer.body)
        if error is None:
            self._taken.forget(event["id"] for event in events)
            return
        if items > 1 or not isinstance(
            error, RefusedError
        ):  # one that is refused is set aside, and does not come again
            self._taken.add_ids(ids)
        if isinstance(error, ParkedError | RetryableError):
            self._client.forget_version()
        raise error

    def _check_size(self, body: bytes, count: int) -> None:
        """One alone goes as it is: only the server knows whether it is too large."""
        if count > 1 and len(body) > self._config.max_request:
            raise TooLargeError(
                f"{count} items are {len(body)} bytes, more than max_request {self._config.max_request}"
            )


class NoListError(RefusedError):
    """A list of scores was refused as one, as servers do that know no lists."""
