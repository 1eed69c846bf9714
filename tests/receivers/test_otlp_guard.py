"""Who may ask by HTTP: pages on the web can not reach it through a browser, those that are allowed can."""

from typing import Any

import pytest

from otel_bridge.listening import is_loopback
from otel_bridge.receivers.otlp.guard import is_local_name, sharing_address
from tests.receivers.http1 import JSON, ONE, Client


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LocalHost:4318", True),
        ("agents.localhost", True),
        ("127.0.0.1:4318", True),
        ("[::1]:4318", True),
        ("192.0.2.1", True),  # an address can not be pointed elsewhere
        ("host.docker.internal:4318", True),
        ("evil.example", False),
        ("evil.example:4318", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("notlocalhost", False),
        ("bridge", False),
        ("[::1", False),
        ("\xff", False),
    ],
)
def test_names_that_nobody_can_point_here(host: str, local: bool) -> None:
    assert is_local_name(host.lower().encode("latin-1"), ()) is local


def test_a_name_may_be_allowed() -> None:
    assert is_local_name(b"bridge.example:4318", ("bridge.example",))


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:4318"])
async def test_other_names_are_refused_on_loopback(receiving: Any, host: str) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        answer = await client.post(ONE, host=host)

        assert (answer.status, taken.items) == (421, 0)
        assert "allowed_hosts" in answer.message
        assert taken.count("refused", reason="wrong_host") == 1


@pytest.mark.parametrize("config", [{"http": "0.0.0.0:0"}, {"allowed_hosts": ("Bridge.Example",)}])
async def test_services_are_reached_by_their_names(receiving: Any, config: dict[str, Any]) -> None:
    """In containers the bridge listens on all addresses, under names that it does not know."""
    async with receiving(**config) as taken, Client(("127.0.0.1", taken.address("http")[1])) as client:
        assert (await client.post(ONE, host="bridge.example:4318")).status == 200


@pytest.mark.parametrize("host", ["", "localhost\r\nHost: localhost"])
async def test_there_is_one_host(receiving: Any, host: str) -> None:
    async with receiving(http="0.0.0.0:0") as taken, Client(("127.0.0.1", taken.address("http")[1])) as client:
        assert (await client.post(ONE, host=host)).status == 400


PAGE = "https://app.example"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://app.example", " "])
@pytest.mark.parametrize("change", [{}, {"content_type": "text/plain"}, {"method": "OPTIONS"}])
async def test_pages_may_not_send(receiving: Any, origin: str, change: dict[str, str]) -> None:
    async with receiving(allowed_origins=(PAGE,)) as taken, Client(taken.address("http")) as client:
        answer = await client.post(b"", origin=origin, **change)

        assert (answer.status, taken.batches) == (403, [])
        assert taken.count("refused", reason="browser_origin") == 1
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_an_allowed_page_may_send_and_read_the_answer(receiving: Any) -> None:
    async with receiving(allowed_origins=(PAGE,)) as taken, Client(taken.address("http")) as client:
        asked = {"access_control_request_method": "POST", "access_control_request_headers": "content-type,x-team"}
        preflight = await client.post(b"", method="OPTIONS", content_length="", origin=PAGE, **asked)
        taken_in = await client.post(ONE, origin=PAGE)
        refused = await client.post(b"nonsense", origin=PAGE, content_type=JSON)

        assert [one.status for one in (preflight, taken_in, refused)] == [200, 200, 400]
        assert {one.headers["access-control-allow-origin"] for one in (preflight, taken_in, refused)} == {PAGE}
        assert preflight.headers["access-control-allow-headers"] == "content-type,x-team"
        assert taken.items == 1


async def test_nobody_else_is_told_of_pages(receiving: Any) -> None:
    async with receiving(allowed_origins=(PAGE,)) as taken, Client(taken.address("http")) as client:
        answer = await client.post(ONE)

        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("peer", "shared"),
    [
        ("127.0.0.1", None),
        ("127.8.8.8", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_connections_of_one_machine_are_counted_but_not_of_this_one(peer: str, shared: str | None) -> None:
    assert sharing_address(peer) == shared


def test_a_network_of_ipv6_is_one_machine() -> None:
    assert sharing_address("2001:db8:1:2::1") == sharing_address("2001:db8:1:2:ffff::9%eth0")
    assert sharing_address("2001:db8:1:2::1") != sharing_address("2001:db8:1:3::1")


@pytest.mark.parametrize(("address", "only"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)])
def test_what_only_this_machine_reaches(address: str, only: bool) -> None:
    assert is_loopback(address) is only
