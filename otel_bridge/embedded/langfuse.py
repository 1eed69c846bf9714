"""Spans from any TracerProvider straight to Langfuse, as the bridge would send them, without a bridge."""

import contextlib
import logging
import os
import random
import threading
import time
import weakref
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_bridge import langfuse_names as names
from otel_bridge.counts import plural
from otel_bridge.ratio import is_kept
from otel_bridge.sdk.sampling import sample_rate
from otel_bridge.sdk.saying import Log

if TYPE_CHECKING:
    from otel_bridge.exporters.langfuse.versions import Version
    from otel_bridge.model import Observation, Score, Translation
    from otel_bridge.trace import Known, Trace
    from otel_bridge.translate import Prices

log = Log(logging.getLogger("otel_bridge.embedded"))

TIMEOUT_S = 10.0
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 4.0
WARN_EVERY_S = 60.0
MAX_ANSWER = 1 << 20
MAX_TRACES_KNOWN, MAX_BYTES_KNOWN = 2000, 16 << 20  # a trace of thousands of spans has half a megabyte
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


class LangfuseSpanExporter(SpanExporter):
    """For a BatchSpanProcessor of anybody's; also `OTEL_TRACES_EXPORTER=otel_bridge_langfuse`. Never raises.

    Each batch is translated as the bridge translates (dialects, usage counted once, prices) and sent over OTLP as the
    bridge sends: every span arrives, with everything explicit. `export` takes `timeout_s` at most, tries again
    meanwhile, and says FAILURE as long as something is worth sending again: then only that is sent. SUCCESS is for what
    Langfuse took, and for spans that it refuses as they are: those are counted and warned of. Nothing is kept beyond
    it: so `force_flush` tells whether anything was lost since the last one, and `shutdown` has nothing to wait for.

    What only whole traces can have, a batch has not: session, user, tags and the trace's name stand on the spans of a
    batch where that batch or an earlier one of the trace says them. A root ends last, so what it alone says comes too
    late for its children that went before; `correlation()` with `ContextProcessor` says it on all of them. Log records,
    and scores that are log records, do not come here, and what Langfuse does not take in time is lost. For all of that
    there is the bridge, beside the agent or in it (`install(Path("bridge.yaml"))`).

    public_key, secret_key, base_url, environment, release: else as Langfuse's own variables say.
    dropped: spans by the reason for which Langfuse did not take them, each time they were given (a processor that tries
        again has its own count), and `scores`.
    """

    def __init__(
        self,
        *,
        public_key: str | None = None,
        secret_key: str | None = None,
        base_url: str | None = None,
        environment: str | None = None,
        release: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        meant = names.as_meant(os.environ)
        if hint := meant.hint(names.ALL):
            log.warning("otel-bridge: %s", hint)
        variables = meant.environ
        self.dropped: Counter[str] = Counter()
        self._keys = (
            public_key or variables.get(names.PUBLIC_KEY, ""),
            secret_key or variables.get(names.SECRET_KEY, ""),
        )
        self.where = (base_url or variables.get(names.BASE_URL) or names.CLOUD).rstrip("/")
        given = {names.ENVIRONMENT: environment, names.RELEASE: release}
        self._resource = names.resource({**variables, **{name: said for name, said in given.items() if said}})
        self._enabled = names.is_enabled(variables)
        self._rate = sample_rate(meant)
        self._timeout_s = timeout_s
        self._prices: Prices | None = None
        self._warned_s = float("-inf")
        self._begin()
        again = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: (begin := again()) and begin())

    def _begin(self) -> None:
        """As it is at first, and in a forked child, which must not share connections."""
        self._exporting = threading.Lock()
        self._closed = threading.Event()
        self._http: Any = None
        self._left_behind: threading.Thread | None = None
        self._version: Version | None = None
        self._known: OrderedDict[str, tuple[int, Known, int]] = OrderedDict()  # by trace: parts, and bytes
        self._bytes_known = 0
        self._lost = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; FAILURE where some of it is worth sending again."""
        spans = [span for span in spans if span.context is None or is_kept(span.context.trace_id, self._rate)]
        if not self._enabled or not spans:
            return SpanExportResult.SUCCESS
        until_s = time.monotonic() + self._timeout_s
        lost: Counter[str] = Counter()
        given_up: Counter[str] = Counter()
        if not all(self._keys):
            lost["no_keys"] = len(spans)
            self._warn(f"{names.PUBLIC_KEY} and {names.SECRET_KEY} are not both set: nothing is sent to Langfuse")
        elif self._closed.is_set() or not self._exporting.acquire(timeout=self._timeout_s):
            lost["after_shutdown" if self._closed.is_set() else "busy"] = len(spans)
        else:
            token = otel.attach(otel.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
            try:
                lost, given_up = self._export(spans, until_s)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach the agent
                lost["failed"] = len(spans)
                self._warn(f"spans can not be sent to {self.where}: {type(error).__name__}: {error}")
            finally:
                otel.detach(token)
                self._exporting.release()
        self.dropped += lost + given_up
        self._lost = self._lost or bool(lost or given_up)
        return SpanExportResult.FAILURE if lost else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether nothing was lost since the last time; nothing waits here."""
        lost, self._lost = self._lost, False
        return not lost

    def shutdown(self) -> None:
        """Take no more; what is being sent is not tried again."""
        self._closed.set()

    def _export(self, spans: Sequence[ReadableSpan], until_s: float) -> "tuple[Counter[str], Counter[str]]":
        """Why spans are not sent that may be sent again, and why others never will be."""
        parts = self._translated(spans)
        given_up = Counter(omitted.reason for _, part in parts for omitted in part.rejected)
        sent = self._send([seen for _, part in parts for seen in part.observations], until_s)
        for trace, part in parts:
            self._remember(trace, part, sent.taken)
        scores = [score for _, part in parts for score in part.scores if score.observation_id not in sent.left]
        if scores:
            self._send_scores(scores, until_s)
        return sent.lost, given_up + sent.given_up

    def _translated(self, spans: Sequence[ReadableSpan]) -> "list[tuple[Trace, Translation]]":
        """Part by part, each of another trace."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        from otel_bridge.batch import Batch
        from otel_bridge.trace import Settled, Trace
        from otel_bridge.translate import Prices, gather, translate

        prices = self._prices = self._prices or Prices()
        request = encode_spans(spans)
        for block in request.resource_spans:
            said = {pair.key for pair in block.resource.attributes}
            for name, value in self._resource.items():
                if name not in said:
                    block.resource.attributes.add(key=name).value.string_value = value
        found = []
        for key, (records, _) in gather(Batch.from_request(request)).items():
            number, known, _ = self._known.get(key, (0, None, 0))
            trace = Trace(key, records, settled=Settled.HELD, part=number, known=known)
            found.append((trace, translate(trace, prices)))
        return found

    def _remember(self, trace: "Trace", part: "Translation", taken: set[str]) -> None:
        """What later parts of a trace must know; of what Langfuse has not got they know nothing."""
        import orjson

        from otel_bridge.translate import translate

        if not all(seen.id in taken for seen in part.observations):
            records = [record for record in trace.spans if record.span.span_id.hex() in taken]
            if not records:
                return
            part = translate(replace(trace, spans=records), self._prices)
        _, _, size = self._known.pop(trace.key, (0, None, 0))
        self._bytes_known -= size
        size = len(orjson.dumps(part.known, default=str))
        self._known[trace.key] = (trace.part + 1, part.known, size)
        self._bytes_known += size
        while len(self._known) > MAX_TRACES_KNOWN or self._bytes_known > MAX_BYTES_KNOWN:
            _, (_, _, size) = self._known.popitem(last=False)
            self._bytes_known -= size

    def _send(self, observations: "Sequence[Observation]", until_s: float) -> "_Sent":
        """Send them, in halves where they are too large or one of them is refused."""
        from otel_bridge.errors import ConsumeError, RefusedError, RetryableError, TooLargeError

        sent = _Sent()
        waiting = [observations] if observations else []
        while waiting:
            seen = waiting.pop()
            try:
                self._send_at_once(seen, until_s)
            except (RefusedError, TooLargeError) as error:
                if len(seen) > 1:
                    half = len(seen) // 2
                    waiting += [seen[half:], seen[:half]]
                else:
                    self._warn(f"a span is refused: {error}")
                    sent.given_up["too_large" if isinstance(error, TooLargeError) else "refused"] += 1
            except ConsumeError as error:
                self._warn(f"spans can not be sent: {error}")
                sent.left = {one.id for some in (seen, *waiting) for one in some}
                sent.lost["unsent" if isinstance(error, RetryableError) else "refused"] = len(sent.left)
                return sent
            else:
                sent.taken.update(one.id for one in seen)
        return sent

    def _send_at_once(self, seen: "Sequence[Observation]", until_s: float) -> None:
        """One request with all of them.

        Raises:
            ConsumeError: they are not taken.
        """
        from otel_bridge.errors import TooLargeError
        from otel_bridge.exporters.langfuse import MAX_REQUEST, api, versions
        from otel_bridge.exporters.langfuse.otlp import encode
        from otel_bridge.model import Translation

        version = self._version = self._version or self._ask_version(until_s)
        body = encode(Translation(observations=list(seen)), version=version).SerializeToString()
        if len(seen) > 1 and len(body) > MAX_REQUEST:
            raise TooLargeError(f"{len(seen)} spans have {len(body)} bytes")
        headers = {"Content-Type": "application/x-protobuf", **api.otlp_headers(version)}
        self._request("POST", api.OTLP_PATH, until_s, body=body, headers=headers, packed=version >= versions.GZIP)

    def _send_scores(self, scores: "Sequence[Score]", until_s: float) -> None:
        """Those that are events of spans, as every server takes them; what is lost of them is no span's loss."""
        from otel_bridge.errors import ConsumeError
        from otel_bridge.exporters.langfuse import ingestion

        lost = len(scores)
        try:
            version = self._version = self._version or self._ask_version(until_s)
            events = ingestion.score_events(scores, version=version)
            headers = {"Content-Type": "application/json"}
            answer = self._request("POST", ingestion.PATH, until_s, body=ingestion.batch(events), headers=headers)
            taken, error = ingestion.outcome(events, answer)
            lost = len(events) - len(taken) if error is not None else 0
        except ConsumeError as raised:
            error = raised
        if error is not None:
            self.dropped["scores"] += lost
            self._lost = True
            self._warn(f"{plural(lost, 'score')} not taken: {error}")

    def _ask_version(self, until_s: float) -> "Version":
        from otel_bridge.errors import ParkedError
        from otel_bridge.exporters.langfuse import api, versions

        found = api.server_version(self._request("GET", api.HEALTH, until_s), f"{self.where}{api.HEALTH}")
        if found < versions.OTLP:
            raise ParkedError(
                f"{self.where} is Langfuse {found[0]}.{found[1]}, which only the bridge serves", "version"
            )
        return found

    def _request(
        self,
        method: str,
        path: str,
        until_s: float,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        packed: bool = False,
    ) -> bytes:
        """What a 2xx came with; tries again until then.

        Raises:
            ConsumeError: as `answers` reads the last answer.
        """
        from otel_bridge.errors import RetryableError

        given = dict(headers or {})
        if packed:
            import gzip

            body = gzip.compress(body, 1, mtime=0)
            given["Content-Encoding"] = "gzip"
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                return self._try(method, f"{self.where}{path}", until_s, body, given)
            except RetryableError as error:
                wait_s = max(random.uniform(backoff_s / 2, backoff_s), error.retry_after_s or 0.0)  # noqa: S311 - spreads
                if time.monotonic() + wait_s >= until_s or self._closed.wait(wait_s):
                    raise
                backoff_s = min(LAST_BACKOFF_S, backoff_s * 2)

    def _try(self, method: str, url: str, until_s: float, body: bytes, headers: Mapping[str, str]) -> bytes:
        """One request, on a thread that is left behind where it does not end: names, too, may never be answered.

        Its answer is cut off then; until it ends there is no other request, so that one thread is the most.
        """
        from otel_bridge import answers
        from otel_bridge.errors import RetryableError

        if self._left_behind is not None:
            self._left_behind.join(max(0.0, until_s - time.monotonic()))
            if self._left_behind.is_alive():
                raise RetryableError(f"{url}: an earlier request has not ended")
            self._left_behind = None
        timeout_s = until_s - time.monotonic()
        if timeout_s <= 0:
            raise RetryableError(f"{url}: there was no time left to ask")
        connections = self._http = self._http or self._connections()
        found: list[tuple[int, Mapping[str, str], bytes] | OSError] = []
        answering: list[Any] = []
        is_late = threading.Event()

        def ask() -> None:
            otel.attach(otel.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
            try:
                with connections.request(
                    method, url, data=body, headers=headers, timeout=timeout_s, allow_redirects=False, stream=True
                ) as response:
                    answering.append(response.raw)
                    if is_late.is_set():
                        return
                    told = response.raw.read(MAX_ANSWER, decode_content=True)
                    found.append((response.status_code, response.headers, told))
            except Exception as error:  # noqa: BLE001 - it is raised where somebody waits for it
                found.append(error if isinstance(error, OSError) else OSError(f"{type(error).__name__} {error}"))

        asking = threading.Thread(target=ask, name="otel-bridge-langfuse", daemon=True)
        try:
            asking.start()
            asking.join(timeout_s)
        except RuntimeError:  # Python is ending, and starts no thread any more
            ask()
        answer = found[0] if found else TimeoutError("no answer in time")
        if isinstance(answer, OSError):
            is_late.set()
            for raw in answering:
                with contextlib.suppress(Exception):  # it has ended meanwhile, or urllib3 can not (before 2.3)
                    raw.shutdown()
            if asking.is_alive():
                self._left_behind = asking
            connections.close()
            self._http = self._version = None  # who answers next may be another server
            raise RetryableError(f"{url}: {type(answer).__name__} {answer}") from answer
        status, answered, told = answer
        answers.check(status, answered, told, who=url)
        return told

    def _connections(self) -> Any:
        import requests

        from otel_bridge import __version__
        from otel_bridge.exporters.langfuse import api

        made = requests.Session()
        made.trust_env = False  # no proxies, as the bridge has it; but certificates as they are said for it or requests
        made.verify = next((said for name in CERTIFICATES if (said := os.environ.get(name))), True)
        made.auth = self._keys
        made.headers.update({"User-Agent": f"otel-bridge/{__version__}", **api.headers(self._keys[0])})
        return made

    def _warn(self, said: str) -> None:
        if time.monotonic() >= self._warned_s + WARN_EVERY_S:
            self._warned_s = time.monotonic()
            log.warning("otel-bridge: %s", said)


@dataclass(slots=True)
class _Sent:
    """What became of observations.

    taken: the ids of those that Langfuse has. left: of those that may be sent again; lost: why.
    given_up: why others are refused for good.
    """

    taken: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    lost: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
