"""The configuration of the OTLP receiver refuses what can not work, with words that help."""

import errno
from typing import Any

import pytest
from pydantic import ValidationError

from otel_bridge.receivers.otlp import OtlpConfig
from otel_bridge.receivers.otlp.address import unbindable


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "[::1]:4318", "localhost:0", "bridge.example:65535"])
def test_addresses(endpoint: str) -> None:
    assert OtlpConfig(http=endpoint).http == endpoint


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"http": "4318"}, "host:port"),
        ({"http": ":4318"}, "host:port"),
        ({"grpc": "127.0.0.1:70000"}, "host:port"),
        ({"grpc": "http://127.0.0.1:4317"}, "host:port"),
        ({"grpc": None, "http": None}, "both null"),
        ({"max_body": "1GiB"}, "max_inflight must be at least max_body"),
        ({"max_body": 0}, "greater than 0"),
        ({"max_bdy": 1}, "Extra inputs"),
        ({"min_rate": 0}, "greater than 0"),
        ({"allowed_origins": ["*"]}, "as browsers do"),
        ({"allowed_origins": ["https://*.example"]}, "as browsers do"),
        ({"allowed_origins": ["https://app.example/page"]}, "as browsers do"),
        ({"allowed_origins": ["app.example"]}, "as browsers do"),
        ({"allowed_hosts": ["bridge.example:4318"]}, "should match pattern"),
    ],
)
def test_what_can_not_work_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OtlpConfig(**config)


def test_a_port_that_only_root_may_use_is_named() -> None:
    refused = unbindable("otlp", "127.0.0.1:80", OSError(errno.EACCES, "Permission denied"))

    assert str(refused) == (
        "otlp: 127.0.0.1:80 can not be bound: the system lets only root use it; choose a port above 1023"
    )
