import pytest
from pydantic import ValidationError

from otel_bridge.tenants import NOBODY, TenantConfig, Tenants

ACME, BETA = "acme-key-0123456789", "beta-key-0123456789"


def two() -> Tenants:
    return Tenants(
        {
            "acme": TenantConfig.model_validate({"keys": [ACME], "certificates": ["agent.acme.example"]}),
            "beta": TenantConfig.model_validate({"keys": [BETA]}),
        }
    )


def test_a_key_or_a_certificate_is_one_tenant_s() -> None:
    tenants = two()

    assert tenants.required
    assert tenants.of_key(ACME.encode()) == "acme"
    assert tenants.of_key(BETA.encode()) == "beta"
    assert tenants.of_key(b"acme") is None
    assert tenants.of_certificate(["other", "agent.acme.example"]) == "acme"
    assert tenants.of_certificate(["acme"]) is None


def test_a_new_configuration_takes_old_keys_away_at_once() -> None:
    tenants = two()
    tenants.replace({"acme": TenantConfig.model_validate({"keys": ["another-key-0123456789"]})})

    assert tenants.of_key(ACME.encode()) is None
    assert tenants.of_key(b"another-key-0123456789") == "acme"
    assert tenants.get("beta") == NOBODY


def test_without_tenants_nobody_has_to_say_who_they_are() -> None:
    assert not Tenants().required


def test_a_key_that_can_be_guessed_is_refused_and_no_key_is_shown() -> None:
    with pytest.raises(ValidationError, match="at least 16"):
        TenantConfig.model_validate({"keys": ["short"]})
    assert ACME not in repr(two().get("acme"))
