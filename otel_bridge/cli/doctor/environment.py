"""What of the environment keeps programs from sending, or this bridge from sending to Langfuse."""

import difflib
import logging
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from otel_bridge import langfuse_names as names
from otel_bridge.cli.doctor.finding import Finding, fault, ok, warning
from otel_bridge.sdk.saying import public

OTLP = "OTEL_EXPORTER_OTLP_"
GENERAL = f"{OTLP}ENDPOINT"
SIGNALS = {f"{OTLP}{signal.upper()}_ENDPOINT": f"/v1/{signal}" for signal in ("traces", "logs", "metrics")}
GRPC, HTTP = "grpc", "http/protobuf"
PROTOCOLS = (GRPC, HTTP, "http/json")
USUAL_PORTS = {4317: GRPC, 4318: HTTP}
LANGFUSE_PATH = "/api/public/otel"
PREFIX = re.compile(r"LANG?FUSE?_|LANFUSE_", re.IGNORECASE)
OF_LANGFUSE = (  # of its SDK
    *(names.PUBLIC_KEY, names.SECRET_KEY, names.BASE_URL, names.ENABLED, names.SAMPLE_RATE, names.ENVIRONMENT),
    *(names.RELEASE, "LANGFUSE_TIMEOUT", "LANGFUSE_FLUSH_AT", "LANGFUSE_FLUSH_INTERVAL", "LANGFUSE_DEBUG"),
)
HEADERS = (f"{OTLP}TRACES_HEADERS", f"{OTLP}HEADERS")  # of spans, those that count first
UNSENT = re.compile(r"[\r\n]|[^\x00-\xff]")
NOT_SENT = "has a line break in it, or letters that no header has: write it as authorization=Bearer%20<the key>"
OURS = (
    *("OTEL_BRIDGE_CONFIG", "OTEL_BRIDGE_DATA_DIR", "OTEL_BRIDGE_GRPC", "OTEL_BRIDGE_HTTP", "OTEL_BRIDGE_VIEWER"),
    *("OTEL_BRIDGE_INSECURE_ALLOW_PUBLIC", "OTEL_BRIDGE_VIEWER_PASSWORD", "OTEL_BRIDGE_CLIENT_CERT"),
    *("OTEL_BRIDGE_CLIENT_KEY", "OTEL_BRIDGE_LANGFUSE_BROWSER_URL", "OTEL_BRIDGE_ENABLED", "OTEL_BRIDGE_SPOOL"),
    *("OTEL_BRIDGE_EXIT_SECONDS", "OTEL_BRIDGE_HEARTBEAT_SECONDS", "OTEL_BRIDGE_CORRELATION_KEYS", "OTEL_BRIDGE_AUTO"),
    *("OTEL_BRIDGE_LLM_LOG", "OTEL_BRIDGE_LLM_LOG_FORMAT", "OTEL_BRIDGE_LLM_LOG_DIR", "OTEL_BRIDGE_LLM_LOG_PREFIX"),
)
NEAR = 0.93  # as similar as one letter too many, too few or in the wrong place makes it
QUOTES = "\"'"


def environment(environ: Mapping[str, str]) -> list[Finding]:
    """What keeps a program with this environment from sending, or this bridge from sending to Langfuse."""
    found = [
        *_switched_off(environ),
        *_endpoints(environ),
        *_headers(environ),
        *_langfuse(environ),
        *_misspelt(environ),
        *_quoted(environ),
    ]
    return found or [ok("environment", "nothing in it stands in the way")]


def _switched_off(environ: Mapping[str, str]) -> Iterator[Finding]:
    off = "every program with this environment is without telemetry: unset it"
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip()
    if disabled.lower() == "true":
        yield fault("environment", f"OTEL_SDK_DISABLED=true, so {off}")
    elif disabled and disabled.lower() not in names.NO:
        yield warning(
            "environment", "OTEL_SDK_DISABLED is neither true nor false, and counts as false: write one of them"
        )
    if environ.get("OTEL_BRIDGE_ENABLED", "").strip().lower() in names.NO:
        yield fault("environment", f"OTEL_BRIDGE_ENABLED is false, so {off}")
    if environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        yield fault("environment", "OTEL_TRACES_EXPORTER=none, so no span is sent: unset it, or write otlp")
    if environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() in ("always_off", "parentbased_always_off"):
        yield fault("environment", "OTEL_TRACES_SAMPLER leaves out every trace: unset it")
    variables = names.as_meant(environ)
    if not names.is_enabled(variables.environ):
        called = variables.called(names.ENABLED)
        yield warning(
            "environment", f"{called} is false, so a bridge without a configuration sends Langfuse nothing: unset it"
        )


def _endpoints(environ: Mapping[str, str]) -> Iterator[Finding]:
    for name, path in {GENERAL: "", **SIGNALS}.items():
        if said := environ.get(name, "").strip():
            yield from _endpoint(name, said, path, _protocol(name, environ))
    for name in (f"{OTLP}PROTOCOL", *(f"{OTLP}{signal}_PROTOCOL" for signal in ("TRACES", "LOGS", "METRICS"))):
        said = environ.get(name, "").strip()
        if said and said not in PROTOCOLS:
            yield fault("environment", f"{name}={said[:40]} is no protocol of OTLP: write {HTTP} or {GRPC}")


def _protocol(name: str, environ: Mapping[str, str]) -> str | None:
    own = environ.get(name.replace("_ENDPOINT", "_PROTOCOL"), "").strip()
    return own or environ.get(f"{OTLP}PROTOCOL", "").strip() or None


def _endpoint(name: str, said: str, path: str, protocol: str | None) -> Iterator[Finding]:
    """path: of the signal, which is appended to the general one alone."""
    try:
        parts = urlsplit(said)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not parts.hostname or parts.scheme not in ("http", "https"):
        if not (protocol == GRPC and "://" not in said):  # which gRPC takes, as host:port
            yield fault("environment", f"{name} is no address: write it as http://HOST:4318")
        return
    written = parts.path.rstrip("/")
    shown = public(said)
    signal = next((one for one in SIGNALS.values() if written.endswith(one)), None)
    if signal is not None and protocol != GRPC and not path:
        base = shown.rstrip("/").removesuffix(signal)
        yield fault(
            "environment", f"{name} ends in {signal}, which exporters add, so they ask for it doubled: write {base}"
        )
    elif path and written.endswith(path * 2):
        yield fault("environment", f"{name} has {path} doubled: write {shown.rstrip('/').removesuffix(path)}")
    elif path and protocol != GRPC and not written.endswith(path):
        yield fault("environment", f"{name} is used as it is, without a path: write {shown.rstrip('/')}{path}")
    if LANGFUSE_PATH in written and protocol == GRPC:
        yield fault("environment", f"{name} is Langfuse's, which takes no gRPC: set {OTLP}PROTOCOL={HTTP}")
        return
    usual = USUAL_PORTS.get(port or 0)
    if usual is None:
        return
    if protocol is None:
        yield warning(
            "environment",
            f"{name} has the port of {usual}, and many SDKs speak the other by default: set {OTLP}PROTOCOL={usual}",
        )
    elif (protocol == GRPC) is not (usual == GRPC):
        other = 4317 if protocol == GRPC else 4318
        yield fault(
            "environment", f"{name} has the port {port}, of {usual}, and the protocol is {protocol}: write port {other}"
        )


def headers(said: str) -> Mapping[str, str]:
    """As exporters read them; what they can not read is left out, and not shown: it may be a key."""
    from opentelemetry.util import re as of_variables

    log = logging.getLogger(of_variables.__name__)
    log.addFilter(_nothing)
    try:
        return of_variables.parse_env_headers(said, liberal=True)
    finally:
        log.removeFilter(_nothing)


def can_be_sent(found: Mapping[str, str]) -> bool:
    """Whether a request may have these headers."""
    return not any(UNSENT.search(value) for value in found.values())


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _headers(environ: Mapping[str, str]) -> Iterator[Finding]:
    for name in (*HEADERS, f"{OTLP}LOGS_HEADERS"):
        said = environ.get(name, "")
        if any(pair.strip() and not headers(pair) for pair in said.split(",")):
            yield fault(
                "environment", f"{name} is not read: write it as authorization=Bearer%20…, and several by commas"
            )
        elif not can_be_sent(headers(said)):
            yield fault("environment", f"{name} {NOT_SENT}")


def _langfuse(environ: Mapping[str, str]) -> Iterator[Finding]:
    variables = names.as_meant(environ)
    for meant, name in variables.taken.items():
        yield warning("environment", f"{name} is taken for {meant}: write that, which Langfuse's own SDK knows too")
    for name in sorted(environ):
        if not PREFIX.match(name) or name in (*OF_LANGFUSE, *names.MEANT):
            continue
        near = difflib.get_close_matches(name.upper(), OF_LANGFUSE, 1, 0.88)
        if near and not environ.get(near[0]):
            yield fault("environment", f"nobody reads {name}: is it {near[0]}, which is not set?")
    public_key, secret_key = (environ.get(name, "").strip() for name in (names.PUBLIC_KEY, names.SECRET_KEY))
    if bool(public_key) is not bool(secret_key):
        missing = names.SECRET_KEY if public_key else names.PUBLIC_KEY
        yield fault("environment", f"{missing} is not set, so nothing goes to Langfuse: set it as well")
    if public_key.startswith("sk-") or secret_key.startswith("pk-"):
        yield fault("environment", f"{names.PUBLIC_KEY} and {names.SECRET_KEY} are the wrong way round: exchange them")


def _misspelt(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Of our own variables and of those of OpenTelemetry's SDK; instrumentations have many of theirs."""
    from opentelemetry.sdk import environment_variables as of_sdk

    known = {*OURS, *(name for name in vars(of_sdk) if name.startswith("OTEL_"))}
    for name in sorted(name for name in environ if name.startswith("OTEL_") and name not in known):
        if near := difflib.get_close_matches(name, known, 1, NEAR):
            yield fault("environment", f"nobody reads {name[:100]}: is it {near[0]}?")


def _quoted(environ: Mapping[str, str]) -> Iterator[Finding]:
    """As of an env file of Docker's, which takes quotes for a part of the value."""
    for name in (*OF_LANGFUSE, GENERAL, *SIGNALS):
        said = environ.get(name, "")
        if said != said.strip() or (said[:1] in QUOTES and said[:1] == said[-1:] and len(said) > 1):
            yield fault(
                "environment",
                f"{name} has quotes or spaces around its value, which are taken for a part of it: leave them out",
            )
