"""One Langfuse project over HTTP: its keys, and the version of its server."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from otel_bridge.answers import PARKED
from otel_bridge.errors import BusyError, ParkedError, RefusedError, TooLargeError
from otel_bridge.exporters.langfuse import api
from otel_bridge.exporters.langfuse.versions import Version
from otel_bridge.outbound import MAX_ANSWER, Answer, Http, LostError, compress

if TYPE_CHECKING:
    from otel_bridge.exporters.langfuse import LangfuseConfig

UNAUTHORIZED = PARKED[401]
OWN_QUOTA = ("/api/public/scores",)  # all else that is written shares one
LONGEST_WAIT_S = 15 * 60.0
MAX_READ = 8 << 20  # of what is read back


class Client:
    """Requests with the project's keys; after trouble with the connection it asks for the server's version again.

    storage: for the addresses that Langfuse names.
    """

    def __init__(self, config: "LangfuseConfig", http: Http, storage: Http) -> None:
        self.base_url = config.base_url
        self._http = http
        self._storage = storage
        keys = f"{config.public_key}:{config.secret_key.get_secret_value()}"
        self._headers = {
            "Authorization": f"Basic {b64encode(keys.encode()).decode()}",
            **api.headers(config.public_key),
        }
        self._version: Version | None = None
        self._project: api.Project | None = None
        self._busy_until_s: dict[str, float] = {}
        self._asking = asyncio.Lock()

    async def version(self) -> Version:
        """The server's version, asked for at the first call and after each park or lost connection.

        Raises:
            RetryableError, ParkedError: it can not be known now.
        """
        async with self._asking:
            if self._version is None:
                self._version = await self._ask_version()
            return self._version

    async def project(self) -> api.Project | None:
        """The project of the keys; None where the server does not say, which is no reason not to send there.

        Raises:
            ParkedError: it does not know the keys.
            RetryableError: it does not say now.
        """
        if self._project is None:
            try:
                self._project = api.project((await self.get(api.PROJECTS)).body)
            except (RefusedError, TooLargeError):
                return None
            except ParkedError as error:
                if error.reason == UNAUTHORIZED:
                    raise
        return self._project

    def forget_version(self) -> None:
        """What answers may be another server now: ask again before the next delivery."""
        self._version = None

    async def _ask_version(self) -> Version:
        url = f"{self.base_url}{api.HEALTH}"
        answer = await self._http.request("GET", url)
        return api.server_version(answer.body, url)

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str,
        gzip: bool = False,
        headers: Mapping[str, str] | None = None,
        max_answer: int = MAX_ANSWER,
    ) -> Answer:
        """Send one body; returns what a 2xx came with, cut at `max_answer` bytes.

        Raises:
            RetryableError, RefusedError, TooLargeError, ParkedError: it was not taken, or nobody can know.
        """
        given = {**self._headers, **(headers or {}), "Content-Type": content_type}
        if gzip:
            body = await compress(body)
            given["Content-Encoding"] = "gzip"
        url = f"{self.base_url}{path}"
        quota = path if path in OWN_QUOTA else ""
        wait_s = self._busy_until_s.get(quota, 0.0) - time.monotonic()
        if wait_s > 0:  # whoever shares the quota waits as well: asking would only be refused
            raise BusyError(f"{url} is to be left alone for now", wait_s)
        try:
            return await self._http.request("POST", url, headers=given, body=body, max_answer=max_answer)
        except BusyError as error:
            if error.retry_after_s is not None:
                self._busy_until_s[quota] = time.monotonic() + min(error.retry_after_s, LONGEST_WAIT_S)
            raise
        except (ParkedError, LostError):
            self.forget_version()
            raise

    async def json(self, method: str, path: str, value: Mapping[str, Any]) -> Answer:
        """Ask the API of a part of Langfuse that not every server has; raises as `post` does."""
        given = {**self._headers, "Content-Type": "application/json"}
        return await self._http.request(method, f"{self.base_url}{path}", headers=given, body=orjson.dumps(value))

    async def get(self, path: str) -> Answer:
        """Read from the API; raises as `post` does."""
        return await self._http.request("GET", f"{self.base_url}{path}", headers=self._headers, max_answer=MAX_READ)

    async def upload(self, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Put bytes where Langfuse said they should go: without our keys, for it is another server."""
        from yarl import URL

        # as it is: quoted anew, its signature would be another's
        return await self._storage.request("PUT", URL(url, encoded=True), headers=headers, body=content)
