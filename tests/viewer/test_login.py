"""Who may see the viewer: by password, session of a browser, or token of this machine; others see nothing."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest
import trustme
from pydantic import ValidationError

from otel_bridge.component import Host
from otel_bridge.extensions.viewer import ViewerConfig, viewer
from otel_bridge.tenants import TenantConfig, Tenants
from otel_bridge.viewer import login
from otel_bridge.viewer.app import routes
from otel_bridge.viewer.login import OPEN, Login

PASSWORD = "correct horse battery"
KEY = "acme-key-0123456789"
TENANTS = {"acme": TenantConfig.model_validate({"keys": [KEY]})}
BROWSER = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

Opened = Callable[..., AbstractAsyncContextManager[tuple[str, Host]]]


@pytest.fixture
def opened(data_dir: Path, bridge: Any) -> Opened:
    """`async with opened(password=...) as (url, host)`: a viewer, configured so, on a free port."""

    @asynccontextmanager
    async def run(tenants: dict[str, TenantConfig] | None = None, **config: Any) -> AsyncIterator[tuple[str, Host]]:
        host = Host("viewer", data_dir, bridge=bridge, tenants=Tenants(tenants))
        async with asynccontextmanager(viewer.open)(ViewerConfig(**{"endpoint": "127.0.0.1:0", **config}), host):
            yield host.endpoints["viewer"], host

    return run


async def status(url: str, path: str = "/api/v1/traces", **request: Any) -> int:
    async with aiohttp.request("GET", url + path, allow_redirects=False, **request) as response:
        return response.status


def bearer(said: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {said}"}


async def post_login(http: aiohttp.ClientSession, url: str, password: str, path: str = "/", **headers: str) -> Any:
    async with http.post(
        url + path, data={"password": password}, headers={"Origin": url, **headers}, allow_redirects=False
    ) as response:
        await response.read()
        return response


def every_route(tmp_path: Path) -> list[tuple[str, str]]:
    with ThreadPoolExecutor(1) as thread:
        there = routes(tmp_path / "store.db", None, thread, Login(None, "token", lambda: True, secure=False))
    return [(route.path, method) for route in there for method in sorted(route.methods or {"GET"})]


@pytest.mark.parametrize("config", [{"password": PASSWORD}, {"tenants": TENANTS}], ids=["password", "tenants"])
async def test_every_route_asks_who_it_is(opened: Opened, config: dict[str, Any], tmp_path: Path) -> None:
    """All that there are, found in the application, and one of the API that is not there: 401, and nothing of what they
    hold. An address where nothing is has none to ask for.
    """
    nowhere = [("/nothing/here", "GET"), ("/docs", "GET"), ("/nope", "POST")]
    wanted = [*every_route(tmp_path), ("/api/v1/nothing", "GET"), ("/", "POST"), *nowhere]
    assert len(wanted) > 20
    async with opened(**config) as (url, _):
        for path, method in wanted:
            changing = {"X-Otel-Bridge": "1", "Content-Type": "application/json"}
            async with aiohttp.request(method, url + path, headers=changing, data="{}") as response:
                said = await response.text()
            if path in OPEN:
                assert (response.status, said) in ((200, "ok\n"), (200, "ready\n"), (200, ""))
                continue
            if (path, method) in nowhere:
                assert (response.status, "WWW-Authenticate" in response.headers) == (404, False)
                assert "nothing at this address" in said
                continue
            assert response.status == 401, (path, method)
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="otel-bridge"'
            assert "planner" not in said


async def test_who_has_the_password_or_the_token_of_the_data_dir_gets_in(opened: Opened, data_dir: Path) -> None:
    async with opened(password=PASSWORD) as (url, _):
        left = data_dir / "viewer.json"
        said = json.loads(left.read_text())
        assert left.stat().st_mode & 0o777 == 0o600
        assert said["url"] == url
        assert await status(url, headers=bearer(PASSWORD)) == 200
        assert await status(url, headers=bearer(said["token"])) == 200
        assert await status(url, headers={"Authorization": aiohttp.encode_basic_auth("anybody", PASSWORD)}) == 200
        for wrong in ("", PASSWORD + "x", KEY):
            assert await status(url, headers=bearer(wrong)) == 401
        assert await status(url, headers={"Authorization": "Basic %%%"}) == 401
    assert not left.exists()


async def test_with_tenants_a_viewer_without_a_password_is_opened_by_the_token_alone(
    opened: Opened, data_dir: Path
) -> None:
    """A tenant's key opens nothing here: what others sent is to be seen by the operator alone."""
    async with opened(tenants=TENANTS) as (url, host):
        token = json.loads((data_dir / "viewer.json").read_text())["token"]
        assert await status(url, headers=bearer(KEY)) == 401
        assert await status(url, headers=bearer(token)) == 200
        host.tenants.replace({})
        assert await status(url) == 200
        host.tenants.replace(TENANTS)
        assert await status(url) == 401


async def test_nobody_is_asked_on_the_own_machine_without_tenants(opened: Opened) -> None:
    async with opened() as (url, _):
        assert await status(url) == 200


@pytest.mark.parametrize(("insecure", "answer"), [(False, 401), (True, 200)])
async def test_where_others_reach_it_everybody_is_asked(opened: Opened, insecure: bool, answer: int) -> None:
    async with opened(endpoint="0.0.0.0:0", insecure=insecure) as (url, _):
        assert await status(url.replace("0.0.0.0", "127.0.0.1")) == answer


async def test_a_browser_logs_in_on_the_page_that_it_asked_for(opened: Opened) -> None:
    async with (
        opened(password=PASSWORD) as (url, _),
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
    ):
        async with http.get(f"{url}/t/last", headers=BROWSER) as page:
            said = await page.text()
            assert (page.status, page.content_type) == (401, "text/html")
            assert 'type="password"' in said
            assert "form-action 'self'" in page.headers["Content-Security-Policy"]
            assert "script-src" not in page.headers["Content-Security-Policy"]

        answer = await post_login(http, url, PASSWORD, "/t/last")
        assert (answer.status, answer.headers["Location"]) == (303, "./last")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Secure" not in cookie
        async with http.get(f"{url}/api/v1/traces") as found:
            assert found.status == 200
        assert (await post_login(http, url, PASSWORD, "/")).headers["Location"] == "./"
        of_acme = await post_login(http, url, PASSWORD, "/t/last?tenant=%0D%0Aacme")
        assert of_acme.headers["Location"] == "./last?tenant=%0D%0Aacme"
        for elsewhere in ("/t/%5C%5Cevil.example", "/t/https:evil.example", "/t/..%2F..%2Fx"):
            there = (await post_login(http, url, PASSWORD, elsewhere)).headers["Location"]
            assert urljoin(f"{url}{elsewhere}", there.replace("\\", "/")).startswith(f"{url}/t/")


async def test_a_new_login_ends_the_session_before_it_and_takes_no_session_from_outside(opened: Opened) -> None:
    async with opened(password=PASSWORD) as (url, _), aiohttp.ClientSession() as http:
        name = (await post_login(http, url, PASSWORD)).headers["Set-Cookie"].partition("=")[0]
        planted = f"{name}=planted-by-somebody"
        first = (await post_login(http, url, PASSWORD, Cookie=planted)).headers["Set-Cookie"].partition(";")[0]
        assert first != planted
        assert await status(url, headers={"Cookie": planted}) == 401
        assert await status(url, headers={"Cookie": first}) == 200

        second = (await post_login(http, url, PASSWORD, Cookie=first)).headers["Set-Cookie"].partition(";")[0]
        assert await status(url, headers={"Cookie": first}) == 401
        assert await status(url, headers={"Cookie": second}) == 200


async def test_a_browser_is_logged_in_to_two_viewers_of_one_host(opened: Opened) -> None:
    """Its cookies do not tell their ports apart."""
    async with (
        opened(password=PASSWORD) as (one, _),
        opened(password=PASSWORD) as (other, _),
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
    ):
        for url in (one, other):
            assert (await post_login(http, url, PASSWORD)).status == 303
        for url in (one, other):
            async with http.get(f"{url}/api/v1/traces") as found:
                assert found.status == 200


async def test_a_session_ends_by_itself(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(password=PASSWORD) as (url, _), aiohttp.ClientSession() as http:
        monkeypatch.setattr(login, "SESSION_S", -1)
        cookie = (await post_login(http, url, PASSWORD)).headers["Set-Cookie"].partition(";")[0]
        assert await status(url, headers={"Cookie": cookie}) == 401


async def test_another_site_can_not_log_anybody_in(opened: Opened) -> None:
    async with opened(password=PASSWORD) as (url, _), aiohttp.ClientSession() as http:
        assert (await post_login(http, url, PASSWORD, Origin="https://evil.example")).status == 403
        cross = {"Sec-Fetch-Site": "cross-site"}
        async with http.post(url, data={"password": PASSWORD}, headers=cross) as response:
            assert response.status == 403


async def test_five_wrong_passwords_a_minute_and_no_more_are_listened_to(
    opened: Opened, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then not even the right one is; who is in stays in, and the token, which nobody guesses, is taken."""
    async with opened(password=PASSWORD) as (url, _), aiohttp.ClientSession() as http:
        token = json.loads((data_dir / "viewer.json").read_text())["token"]
        cookie = (await post_login(http, url, PASSWORD)).headers["Set-Cookie"].partition(";")[0]
        answers = [await status(url, headers=bearer(f"guess {number}")) for number in range(7)]
        assert answers == [401] * 5 + [429] * 2
        late = await post_login(http, url, PASSWORD)
        led_back = {"Cookie": late.headers["Set-Cookie"].partition(";")[0]}
        async with http.get(url, headers=led_back) as page:
            assert (late.status, page.status, page.headers["Retry-After"]) == (303, 429, "60")
            assert "wait a minute" in await page.text()
        assert await status(url, headers=led_back) == 401
        assert await status(url, headers=bearer(PASSWORD)) == 429
        assert await status(url, headers=bearer(token)) == 200
        assert await status(url, headers={"Cookie": cookie}) == 200
        assert await status(url, "/healthz", headers=bearer("guess")) == 200

        monkeypatch.setattr(login, "WITHIN_S", -1.0)  # a minute later
        assert await status(url, headers=bearer(PASSWORD)) == 200


TOLD = "ready, configuration rejected, 2 parked, 2 paused, 3 dead letters\n"


async def test_a_probe_is_told_that_it_is_ready_and_nothing_else(opened: Opened, bridge: Any) -> None:
    paused = {
        "paused": ["store"],
        "paused_tenants": {"store": ["acme"], "file": ["acme"]},
        "dead_letters": [{"letters": 3}],
    }
    bridge.status = lambda: {"ready": True, "parked": 2, **paused, "configuration_rejected": {"at": ""}}
    async with opened(password=PASSWORD) as (url, _), aiohttp.ClientSession() as http:
        for headers, said in (({}, "ready\n"), (bearer(PASSWORD), TOLD)):
            async with http.get(f"{url}/readyz", headers=headers) as response:
                assert await response.text() == said


async def test_over_tls_the_session_is_for_tls_alone(opened: Opened, tmp_path: Path) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    context = ssl.create_default_context()
    ca.configure_trust(context)
    tls = {"cert_file": tmp_path / "both.pem", "key_file": tmp_path / "both.pem"}
    async with (
        opened(password=PASSWORD, tls=tls) as (url, host),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http,
    ):
        assert url.startswith("https://127.0.0.1:")
        assert "Secure" in (await post_login(http, url, PASSWORD)).headers["Set-Cookie"]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert host.counters.value("tls_refused", reason="plaintext", component="viewer") == 1


def test_a_password_is_not_shown_and_not_too_short() -> None:
    assert PASSWORD not in repr(ViewerConfig.model_validate({"password": PASSWORD}))
    with pytest.raises(ValidationError, match="at least 8"):
        ViewerConfig.model_validate({"password": "short"})
