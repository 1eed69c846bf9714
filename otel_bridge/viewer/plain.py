"""Pages without scripts: who is not logged in may be shown them, and at any address."""

import base64
import hashlib
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 22em; margin: 20vh auto 0; padding: 0 1em }
:root { color-scheme: light dark }
p { overflow-wrap: anywhere }
input, button { font: inherit; padding: .3em .6em; width: 100%; box-sizing: border-box; margin: .3em 0 }
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>otel-bridge</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body>{body}</body></html>
"""
POLICY = (
    "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; img-src data:; style-src "
    f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)


def plain_page(body: str, status: int) -> HTMLResponse:
    """A page of that HTML."""
    return HTMLResponse(PAGE.format(style=STYLE, body=body), status, {"Content-Security-Policy": POLICY})


def wants_page(request: Request) -> bool:
    """Whether somebody looks at the answer in a browser, and not at one of the API."""
    return "text/html" in request.headers.get("accept", "") and not request.scope["path"].startswith("/api/")


def nothing_here(request: Request, title: str, why: str) -> HTMLResponse:
    """That there is nothing at an address, with the way to the traces."""
    # As the browser counts it, to which %2F is no slash; relative, so that it holds under a path prefix as well.
    up = "../" * (request.scope["raw_path"].count(b"/") - 1)
    body = f'<h1>{escape(title)}</h1><p>{escape(why)}</p><p><a href="{up or "./"}">All traces</a></p>'
    return plain_page(body, 404)
