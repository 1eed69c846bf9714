"""The media of the fake Langfuse: announced with a hash, put into a storage by a signed address, then closed."""

import base64
import hashlib
import json
from typing import Any

from aiohttp import web

from otel_bridge.exporters.langfuse.media import ACCEPTED
from otel_bridge.testing.langfuse_rules import ISO_WITH_ZONE

MAX_BYTES = 1_000_000_000
DIGEST_CHARACTERS = 44
SIGNATURE = "?X-Amz-Signature=a%2Fb%2Bc%3D"  # quoted anew, it would be another


class FakeMedia:
    """`kept`: bytes by media id, of the uploads that were closed well. `links`: what was announced, in order."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.links: list[dict[str, Any]] = []
        self._announced: dict[str, dict[str, Any]] = {}
        self._uploaded: dict[str, bytes] = {}

    def announce(self, url: str, body: bytes) -> web.Response:
        """`POST /media`: the address to put the bytes to, or none where they are there."""
        asked = json.loads(body)
        sound = (
            bool(asked.get("traceId"))
            and asked.get("field") in ("input", "output", "metadata")
            and asked.get("contentType") in ACCEPTED
            and 0 < asked.get("contentLength", 0) <= MAX_BYTES
            and len(asked.get("sha256Hash", "")) == DIGEST_CHARACTERS
        )
        if not sound:
            return web.json_response({"message": "Invalid request data"}, status=400)
        media_id = asked["sha256Hash"].replace("+", "-").replace("/", "_")[:22]
        self._announced[media_id] = asked
        self.links.append({**asked, "mediaId": media_id})
        upload = None if media_id in self.kept else f"{url}/upload/{media_id}{SIGNATURE}"
        return web.json_response({"mediaId": media_id, "uploadUrl": upload}, status=201)

    def put(self, request: web.Request, body: bytes) -> web.Response:
        """The storage, which takes the bytes that were announced, by the address as it was signed, and no others."""
        asked = self._announced.get(request.match_info["id"])
        if asked is None or not request.raw_path.endswith(SIGNATURE) or "Authorization" in request.headers:
            return web.Response(status=403, text="<Error><Code>SignatureDoesNotMatch</Code></Error>")
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        told = request.headers.get("x-amz-checksum-sha256"), request.headers.get("Content-Type")
        if told != (asked["sha256Hash"], asked["contentType"]) or digest != told[0]:
            return web.Response(status=400, text="<Error><Code>BadDigest</Code></Error>")
        self._uploaded[request.match_info["id"]] = body
        return web.Response()

    def close(self, request: web.Request, body: bytes) -> web.Response:
        """`PATCH /media/ID`: only now is it shown, if the upload went well."""
        media_id, told = request.match_info["id"], json.loads(body)
        if media_id not in self._announced or not ISO_WITH_ZONE.fullmatch(str(told.get("uploadedAt"))):
            return web.json_response({"message": "Invalid request data"}, status=400)
        if told.get("uploadHttpStatus") in (200, 201) and media_id in self._uploaded:
            self.kept[media_id] = self._uploaded[media_id]
        return web.json_response({})
