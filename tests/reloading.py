"""Components that write down what happens to them, and plans of them that a bridge goes over to."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.component import Component, Consume, Host, exporter, extension, receiver, span_processor
from otel_bridge.config import Config, SecretStr
from otel_bridge.errors import FilesError, ParkedError
from otel_bridge.plan import Plan, Planned, ServiceConfig


class Said(Config):
    """A word, so that configurations can differ."""

    word: str = ""
    key: SecretStr | None = None


class World:
    """Components that write down what happens to them; the exporter `sink` has a project for each word.

    bad: the words that nothing can be opened with; parked: the projects that refuse.
    """

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.projects: dict[str, Counter[tuple[str, str]]] = {}
        self.knock: dict[str, Consume] = {}
        self.bad: set[str] = set()
        self.parked: set[str] = set()
        self.at_once: asyncio.Event | None = None
        self.components: dict[str, Component[Said]] = {
            made.name: made for made in (self._door(), self._marked(), self._sink(), self._beside())
        }

    def _opens(self, what: str, config: Said) -> None:
        if config.word in self.bad:
            raise FilesError(f"{what} can not listen on {config.word}")
        self.happened.append(f"{what} opens {config.word}".strip())

    def _door(self) -> Component[Said]:
        @receiver(Said)
        async def door(config: Said, consume: Consume, host: Host) -> AsyncIterator[None]:
            self._opens(host.id, config)
            self.knock[host.id] = consume
            host.endpoints["door"] = config.word
            yield
            self.happened.append(f"{host.id} closes")

        return door

    def _marked(self) -> Component[Said]:
        @span_processor(Said)
        async def marked(config: Said, consume: Consume, _host: Host) -> AsyncIterator[Consume]:
            self._opens("marked", config)
            is_open = True

            async def mark(batch: Batch) -> None:
                await asyncio.sleep(0)
                assert is_open, "nobody goes through what is closed"
                await consume(batch)

            yield mark
            is_open = False

        return marked

    def _sink(self) -> Component[Said]:
        @exporter(Said)
        async def sink(config: Said, _host: Host) -> AsyncIterator[Consume]:
            self._opens("sink", config)
            is_open = True
            project = self.projects.setdefault(config.word, Counter())

            async def consume(batch: Batch) -> None:
                await asyncio.sleep(0.002)
                if self.at_once is not None:
                    await self.at_once.wait()
                assert is_open, "nobody sends with what is closed"
                if config.word in self.parked:
                    raise ParkedError("401", "unauthorized")
                project.update((batch.tenant, name) for name in names(batch))

            yield consume
            is_open = False

        return sink

    def _beside(self) -> Component[Said]:
        @extension(Said)
        async def beside(config: Said, _host: Host) -> AsyncIterator[None]:
            self._opens("beside", config)
            yield

        return beside

    def planned(self, key: str, word: str = "", tenants: dict[str, str] | None = None) -> Planned:
        own = {tenant: Said(word=of) for tenant, of in (tenants or {}).items()}
        return Planned(key, self.components[key.partition("/")[0]], Said(word=word), own)

    def plan(self, folder: Path, *exporters: Planned, **more: Any) -> Plan:
        """One pipeline; `door`, `marked` and `service` say what differs."""
        found = {planned.id: planned for planned in exporters or (self.planned("sink"),)}
        doors = more.get("doors", (self.planned("door"),))
        pipelines = {
            "main": {
                "receivers": [door.id for door in doors],
                "processors": ["marked"],
                "exporters": list(found),
            }
        }
        return Plan(
            "test.yaml",
            receivers={door.id: door for door in doors},
            processors={"marked": self.planned("marked", more.get("marked", ""))},
            exporters=found,
            extensions={"beside": self.planned("beside")},
            service=ServiceConfig.model_validate(
                {"data_dir": str(folder), "deliver": {"max_batch_age": "1ms"}, "pipelines": pipelines}
                | more.get("service", {})
            ),
        )


def batch(*spans: str, tenant: str = "default", trace_id: bytes = b"t" * 16) -> Batch:
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    for name in spans:
        scoped.spans.add(
            name=name,
            trace_id=trace_id,
            span_id=name.encode().rjust(8, b"-")[-8:],
            start_time_unix_nano=1,
            end_time_unix_nano=2,
        )
    return Batch.from_request(request, tenant=tenant)


def names(of: Batch) -> list[str]:
    return [span.name for block in of.request.resource_spans for scoped in block.scope_spans for span in scoped.spans]
