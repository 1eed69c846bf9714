"""Who may ask the viewer, tried with the headers that browsers send for attackers' pages."""

import aiohttp
import pytest

TRACE = "0af7651916cd43dd8448eb211c80319c"
PATHS = (
    "/",
    "/app.js",
    "/api/v1/traces",
    f"/api/v1/traces/{TRACE}",
    f"/t/{TRACE}",
    "/healthz",
    "/openapi.json",
    "/none",
)


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:4319", "127.0.0.1.evil.com", "localhost.evil.com", "[::2]", "[", "@"]
)
async def test_another_host_is_refused_everywhere(url: str, host: str) -> None:
    """A name that was rebound to this machine still stands in the Host header."""
    for path in PATHS:
        async with aiohttp.request("GET", url + path, headers={"Host": host}) as response:
            assert response.status == 421, path
            assert "trace" not in await response.text()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:4319", "[::1]:4319", "traces.team"])
async def test_loopback_and_configured_names_are_served(url: str, host: str) -> None:
    async with aiohttp.request("GET", f"{url}/api/v1/traces", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.com"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_other_sites_are_refused(url: str, bridge: object, method: str, headers: dict[str, str]) -> None:
    path = f"{url}/api/v1/scores"
    async with aiohttp.request(method, path, headers={"X-Otel-Bridge": "1", **headers}, json={}) as response:
        assert response.status == 403


async def test_a_link_from_elsewhere_may_be_followed(url: str) -> None:
    """From a chat, say: it opens the page, whose own requests are of one origin."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with aiohttp.request("GET", f"{url}/t/{TRACE}", headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/html")


async def test_a_form_can_not_change_anything(url: str) -> None:
    async with aiohttp.request("POST", f"{url}/api/v1/scores", data={"name": "x"}) as response:
        assert response.status == 403


async def test_every_answer_carries_the_headers(url: str) -> None:
    """Pages, answers, redirects and refusals."""
    for path, host in [*((path, "localhost") for path in PATHS), ("/", "evil.com")]:
        async with aiohttp.request("GET", url + path, headers={"Host": host}, allow_redirects=False) as response:
            headers = response.headers
        assert headers["Content-Security-Policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
        )
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert not {"Access-Control-Allow-Origin", "Server"} & set(headers)
