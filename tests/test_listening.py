"""Who reaches a port: this machine alone, or others as well."""

import pytest

from otel_bridge.listening import is_local


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
        ("bridge.example:1", False),
        ("127.0.0.1.evil.example:1", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(endpoint: str, local: bool) -> None:
    assert is_local(endpoint) is local
