"""Nobody listens for the world, or makes it less safe, by mistake."""

from pathlib import Path

import pytest

from otel_bridge import plan
from otel_bridge.errors import PlanError
from tests.plan.configured import GOOD, mistakes


def test_what_makes_it_less_safe_is_said() -> None:
    read = plan.parse(GOOD.replace("max_age: 2h", "durability: os"), "bridge.yaml", environ={})

    [warning] = read.warnings
    assert warning.startswith("bridge.yaml:8 service::journal::durability: NOT DURABLE: ")


TLS = "tls: {cert_file: c.pem, key_file: k.pem}"
ACME_TENANT = "  tenants: {acme: {keys: [acme-key-0123456789]}}\n"


def public(receiver: str = "", service: str = "", viewer: str = "") -> str:
    """The receiver and the viewer on all addresses, with more of their configuration."""
    return (
        GOOD.replace("127.0.0.1:0", "0.0.0.0:4318").replace("grpc: null", f"grpc: null{receiver}")
        + service
        + f'extensions:\n  viewer: {{endpoint: "0.0.0.0:4319"{viewer}}}\n'
    )


@pytest.mark.parametrize(
    ("receiver", "service", "lacks"),
    [
        ("", "", "no tls and no service::tenants (or tls::client_ca_file)"),
        (f", {TLS}", "", "no service::tenants (or tls::client_ca_file)"),
        ("", ACME_TENANT, "no tls"),
        (f", {TLS}", ACME_TENANT, None),
        (", tls: {cert_file: c.pem, key_file: k.pem, client_ca_file: ca.pem}", "", None),
        (", insecure: true", "", None),
    ],
)
def test_nobody_listens_for_the_world_by_mistake(receiver: str, service: str, lacks: str | None) -> None:
    viewer = f", {TLS}, password: long-enough"
    text = public(receiver, service, viewer)

    if lacks is None:
        read = plan.parse(text, "bridge.yaml", environ={})
        assert [one for one in read.exposed if "viewer" in one] == []
        return
    [found] = mistakes(text)
    assert found.startswith(
        f"bridge.yaml:2 receivers::otlp::http: others can reach 0.0.0.0:4318, and there is {lacks}: add it"
    )


def test_a_viewer_for_others_has_tls_and_a_password_of_its_own() -> None:
    """Keys of tenants are no password of it."""
    [found] = mistakes(public(f", {TLS}", ACME_TENANT, f", {TLS}"))

    assert found.startswith("bridge.yaml:13 extensions::viewer::endpoint: others can reach 0.0.0.0:4319")
    assert "there is no password" in found


def test_what_is_open_to_all_because_it_was_said_is_told_loudly() -> None:
    """By the file for one component; by the command line or the environment for all."""
    for read in (
        plan.parse(public(", insecure: true", "", ", insecure: true"), "bridge.yaml", environ={}),
        plan.parse(public(), "bridge.yaml", environ={}, allow_public=True),
    ):
        assert [one.partition(": INSECURE: others can reach ")[0] for one in read.exposed] == [
            "bridge.yaml:2 receivers::otlp::http",
            "bridge.yaml:12 extensions::viewer::endpoint",
        ]
        assert set(read.exposed) <= set(read.warnings)
        assert read.extensions["viewer"].config.model_dump()["insecure"] is True


@pytest.mark.parametrize(("said", "runs"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_a_container_says_by_its_environment_that_it_may_listen(said: str, runs: bool) -> None:
    environ = {"OTEL_BRIDGE_HTTP": "0.0.0.0:4318", "OTEL_BRIDGE_INSECURE_ALLOW_PUBLIC": said}

    if runs:
        assert len(plan.load(None, environ=environ).exposed) == 1
        return
    with pytest.raises(
        PlanError, match=r"OTEL_BRIDGE_HTTP: others can reach 0\.0\.0\.0:4318, .* --insecure-allow-public"
    ):
        plan.load(None, environ=environ)


def test_a_key_file_that_everybody_can_read_is_told_of(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("out.jsonl")
    key.chmod(0o644)
    text = GOOD.replace("grpc: null", f"grpc: null, tls: {{cert_file: c.pem, key_file: {key}}}")

    [warning] = plan.parse(text, "bridge.yaml", environ={}).warnings
    assert warning.startswith(
        f"bridge.yaml:2 receivers::otlp::tls::key_file: every user of this machine can read {key}"
    )
    assert mistakes(text + "  strict_permissions: true\n") == [warning]
    elsewhere = GOOD.replace("${env:OUT:-second.jsonl}", f"${{file:{key}}}")
    [warning] = [one for one in plan.parse(elsewhere, "bridge.yaml", environ={}).warnings if "every user" in one]
    assert warning.startswith(f"bridge.yaml:5 exporters::file/second::path: every user of this machine can read {key}")
    key.chmod(0o640)
    assert plan.parse(text + "  strict_permissions: true\n", "bridge.yaml", environ={}).warnings == ()
