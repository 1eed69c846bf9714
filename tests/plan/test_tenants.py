"""What a configuration says of tenants: what they say of each other, what is theirs, and who gets nothing."""

import json

import pytest

from otel_bridge import plan
from tests.plan.configured import GOOD, mistakes


@pytest.mark.parametrize(
    ("tenants", "found"),
    [
        (
            "{a: {keys: [one-key-0123456789]}, b: {keys: [other-key-0123456789, one-key-0123456789]}}",
            "b::keys::1: a has the same: whose would it be?",
        ),
        (
            "{a: {certificates: [agent.example]}, b: {certificates: [agent.example]}}",
            "b::certificates::0: a has the same",
        ),
        ("{a: {keys: [one-key-0123456789], sends_for: [c]}}", "a::sends_for::0: 'c' is no tenant, there are: a"),
    ],
)
def test_what_tenants_say_of_each_other_holds(tenants: str, found: str) -> None:
    [mistake] = mistakes(GOOD + f"  tenants: {tenants}\n")

    assert mistake.startswith(f"bridge.yaml:11 service::tenants::{found}")
    assert "one-key" not in mistake


TENANTS = """\
receivers:
  otlp: {http: "127.0.0.1:0", grpc: null}
exporters:
  langfuse:
    base_url: http://127.0.0.1:9
    timeout: 5s
service:
  tenants:
    acme:
      keys: [acme-key-0123456789]
      exporters: {langfuse: {public_key: pk-lf-acme, secret_key: sk-canary-acme}}
    globex:
      exporters:
        langfuse: {public_key: pk-lf-globex, secret_key: sk-canary-globex, base_url: "http://127.0.0.1:8"}
    idle: {}
  pipelines:
    main: {receivers: [otlp], exporters: [langfuse]}
"""


def test_an_exporter_has_a_configuration_for_each_tenant_with_keys_of_its_own() -> None:
    read = plan.parse(TENANTS, "bridge.yaml", environ={})

    of = {name: config.model_dump() for name, config in read.exporters["langfuse"].tenants.items()}
    assert {name: (found["public_key"], found["base_url"], found["timeout"]) for name, found in of.items()} == {
        "acme": ("pk-lf-acme", "http://127.0.0.1:9", "5s"),
        "globex": ("pk-lf-globex", "http://127.0.0.1:8", "5s"),
    }


def test_keys_of_tenants_are_shown_to_nobody() -> None:
    """`config print` shows what was written, without secrets; that the exporter has none of its own, too."""
    read = plan.parse(TENANTS, "bridge.yaml", environ={})

    shown = read.to_dict()
    assert "canary" not in json.dumps(shown) + repr(read)
    assert "sk-canary-acme" in json.dumps(read.to_dict(show_secrets=True))
    assert shown["exporters"]["langfuse"]["secret_key"] is None
    assert shown["service"]["tenants"]["acme"]["exporters"] == {
        "langfuse": {"public_key": "pk-lf-acme", "secret_key": "**********"}
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("secret_key: sk-canary-acme", ""),
            "bridge.yaml:11 service::tenants::acme::exporters::langfuse::secret_key: is required",
        ),
        (
            ("langfuse: {public_key: pk-lf-acme", "langfus: {public_key: pk-lf-acme"),
            "bridge.yaml:11 service::tenants::acme::exporters::langfus: is not configured, did you mean langfuse?",
        ),
        (
            ("secret_key: sk-canary-globex", "secret: sk-canary-globex, secret_key: s"),
            "bridge.yaml:14 service::tenants::globex::exporters::langfuse::secret: no such key, did you mean ",
        ),
        (("timeout: 5s", "timeout: 5"), "bridge.yaml:6 exporters::langfuse::timeout: 5 has no unit"),
        (
            ("{langfuse: {public_key: pk-lf-acme, secret_key: sk-canary-acme}}", "{langfuse: pk}"),
            "bridge.yaml:11 service::tenants::acme::exporters::langfuse: must be a mapping",
        ),
    ],
)
def test_a_mistake_in_a_tenants_keys_is_said_once_where_it_stands(change: tuple[str, str], message: str) -> None:
    [found] = mistakes(TENANTS.replace(*change))

    assert found.startswith(message)
    assert "canary" not in found


def test_tenants_whose_data_an_exporter_with_keys_does_not_get_are_told_of() -> None:
    """`{}` says that the exporter's own keys are meant."""
    text = (
        "receivers: {otlp: {}}\n"
        "exporters:\n"
        "  langfuse: {public_key: pk-lf-1, secret_key: sk-lf-1}\n"
        "  store: {}\n"
        "service:\n"
        "  tenants: {acme: {keys: [0123456789abcdef], exporters: OWN}}\n"
        "  pipelines: {main: {receivers: [otlp], exporters: [langfuse, store]}}\n"
    )

    (warning,) = plan.parse(text.replace("OWN", "{}"), "test.yaml", environ={}).warnings

    assert warning.startswith("test.yaml:3 exporters::langfuse: its keys are not for tenants")
    assert "acme" in warning
    assert not plan.parse(text.replace("OWN", "{langfuse: {}}"), "test.yaml", environ={}).warnings


def test_tenants_that_are_not_finished_are_told_of() -> None:
    """Each in a line: who can not send, and whose data no keys are there for."""
    warnings = plan.parse(TENANTS, "bridge.yaml", environ={}).warnings

    assert [warning.partition(":")[2].partition(": give")[0] for warning in warnings] == [
        "4 exporters::langfuse: its keys are those of acme, globex, and what is from idle is not sent",
        "12 service::tenants::globex: nobody can send as it",
        "15 service::tenants::idle: nobody can send as it",
    ]


@pytest.mark.parametrize(
    ("tenant", "receiver", "finished"),
    [
        ("keys: [0123456789abcdef]", "", True),
        ("certificates: [agent.acme.example]", "", False),
        ("certificates: [agent.acme.example]", "tls: {cert_file: c, key_file: k, client_ca_file: a}", True),
        ("public_traces: true", "tenant_from: {header: x-tenant}", True),
        ("public_traces: true", "", False),
    ],
)
def test_a_tenant_is_finished_when_somebody_can_send_as_it(tenant: str, receiver: str, finished: bool) -> None:
    text = (
        f"receivers: {{otlp: {{{receiver}}}}}\n"
        "exporters: {store: {}}\n"
        "service:\n"
        "  tenants:\n"
        "    gateway: {keys: [fedcba9876543210], sends_for: [acme]}\n"
        f"    acme: {{{tenant}}}\n"
        "  pipelines: {main: {receivers: [otlp], exporters: [store]}}\n"
    )

    warnings = plan.parse(text, "bridge.yaml", environ={}).warnings

    assert [warning.partition(": ")[0] for warning in warnings] == (
        [] if finished else ["bridge.yaml:6 service::tenants::acme"]
    )


@pytest.mark.parametrize("processor", ["redact: {tenants: {acmee: {}}}", "sample: {tenants: {acmee: {rate: 0.5}}}"])
def test_what_a_processor_says_of_no_tenant_is_told_of(processor: str) -> None:
    text = (
        "receivers: {otlp: {}}\n"
        "processors:\n"
        f"  {processor}\n"
        "exporters: {store: {}}\n"
        "service:\n"
        "  tenants: {acme: {keys: [0123456789abcdef]}}\n"
        "  pipelines:\n"
        f"    main: {{receivers: [otlp], processors: [{processor.partition(':')[0]}], exporters: [store]}}\n"
    )
    alone = text.replace("  tenants: {acme: {keys: [0123456789abcdef]}}\n", "")

    (mistake,) = mistakes(text)
    assert mistake.startswith("bridge.yaml:3 processors::")
    assert mistake.endswith("::tenants::acmee: is no tenant, did you mean acme?")
    (warning,) = plan.parse(alone, "bridge.yaml", environ={}).warnings
    assert "::tenants::acmee: there are no service::tenants" in warning
    for right in (text.replace("acmee", "acme"), alone.replace("acmee", "default")):
        assert plan.parse(right, "bridge.yaml", environ={}).warnings == ()
