"""The API's documentation: Swagger UI in the dashboard's frame, with nothing from elsewhere.

Under the content policy of all pages: no inline script or style.
"""

from functools import cache
from importlib.metadata import version
from importlib.resources import files

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from server.api.keys import make_page_tokens
from server.api.parts import Parts
from server.dashboard.rendering import API_PATH, render
from server.dashboard.site import Site, page_router

router = page_router()

_DOCUMENT_PATH, _TOKEN_PATH = f"{API_PATH}/openapi.json", f"{API_PATH}/token"
_ASSETS = {
    "js": ("swagger-ui-bundle.js", "text/javascript"),
    "css": ("swagger-ui.css", "text/css"),
}
# The URL has the version.
_ASSET_HEADERS = {"Cache-Control": "private, max-age=31536000, immutable"}


@router.get(API_PATH)
def show_api(request: Request, site: Site) -> Response:
    """Show every operation; without scripts as a list."""
    return render(
        request,
        "api/page.html",
        document=request.app.openapi(),
        document_path=_DOCUMENT_PATH,
        token_path=_TOKEN_PATH if site.sessions.are_needed else None,
        assets_version=version("fastapi-offline"),
    )


@router.get(_DOCUMENT_PATH)
def get_document(request: Request) -> Response:
    """Return the OpenAPI document: /openapi.json needs a key, and this the session."""
    return JSONResponse(request.app.openapi(), headers={"Cache-Control": "no-store"})


@router.get(_TOKEN_PATH)
def get_token(request: Request, site: Site, parts: Parts) -> Response:
    """Return what the page sends as its key, with how long it holds; null where none is needed.

    Not written into the page: whoever saves or prints that keeps no key.
    """
    key = site.sessions.key_of(request)
    tokens = make_page_tokens([key] if key is not None else [], parts.services.clock)
    token = tokens.make(key) if key is not None else None
    answer = {"token": token, "expires_in_s": tokens.max_age_s}
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


@router.get(API_PATH + "/swagger-ui.{suffix}")
def get_asset(suffix: str) -> Response:
    """Return Swagger UI's script or style sheet."""
    if suffix not in _ASSETS:
        raise HTTPException(404)
    return Response(_read_asset(suffix), media_type=_ASSETS[suffix][1], headers=_ASSET_HEADERS)


@cache
def _read_asset(suffix: str) -> bytes:
    return (files("fastapi_offline") / "static" / _ASSETS[suffix][0]).read_bytes()
