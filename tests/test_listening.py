"""Who reaches a port: this machine alone, or others as well."""

import pytest
from pydantic import TypeAdapter, ValidationError

from otel_bridge.listening import Endpoint, is_local


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.168.1.7:1", False),
        ("[::1%1]:1", True),
        ("[fe80::1%eth0]:1", False),
        ("bridge.example:1", False),
        ("127.0.0.1.evil.example:1", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(endpoint: str, local: bool) -> None:
    assert is_local(endpoint) is local


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:4318", "[::1]:0", "[fe80::1%eth0]:4319", "[::ffff:127.0.0.1]:1", "host:1"]
)
def test_an_address_is_host_and_port(endpoint: str) -> None:
    assert TypeAdapter(Endpoint).validate_python(endpoint) == endpoint


@pytest.mark.parametrize("endpoint", ["::1:4319", "4319", ":4319", "[::1]", "[fe80::1%]:1", "[::1/64]:1", "host:65536"])
def test_where_it_can_not_be_told_which_is_which_it_says_how_to_write_it(endpoint: str) -> None:
    with pytest.raises(ValidationError, match=r"write it as host:port, like 127.0.0.1:4318 or \[::1\]:4318"):
        TypeAdapter(Endpoint).validate_python(endpoint)
