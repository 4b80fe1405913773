"""/docs (Swagger UI) and /redoc: all files come from this service, and the policy allows their one inline script."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse

ASSETS = "/static-offline-docs"  # where fastapi-offline mounts the scripts and styles of both
ICON = "/static/icon.svg"


def add_api_pages(app: FastAPI) -> None:
    swagger = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Noisemill API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=ICON,
    )
    redoc = get_redoc_html(
        openapi_url="/openapi.json",
        title="Noisemill API",
        redoc_js_url=f"{ASSETS}/redoc.standalone.js",
        redoc_favicon_url=ICON,
        with_google_fonts=False,
    )
    for path, page in {"/docs": swagger, "/redoc": redoc}.items():
        page.headers["Content-Security-Policy"] = _policy(page)
        app.add_api_route(path, lambda page=page: page, include_in_schema=False)


def _policy(page: HTMLResponse) -> str:
    """Both pages set inline styles, and ReDoc searches in a worker that it makes from a blob."""
    inline = re.findall(rb"<script>(.*?)</script>", bytes(page.body), re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(script).digest()).decode() for script in inline)
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
