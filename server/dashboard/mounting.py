"""Puts the dashboard on the API's application."""

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from server.api.app import create_app
from server.api.middleware import DEFAULT_BODY_BYTES
from server.api.routing import add_routes
from server.dashboard.pages import ROUTERS
from server.dashboard.pages.feed_forms import OPML_PATH
from server.dashboard.rendering import API_PATH, STATIC, STATIC_PATH
from server.dashboard.site import DashboardParts, page_router
from server.services import Services

_STATIC_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    # The URL has the content's hash.
    "Cache-Control": "public, max-age=31536000, immutable",
}
_lost = page_router()


def create_site(services: Services) -> FastAPI:
    """Make the application that a server serves: the API, and the dashboard on it."""
    dashboard = DashboardParts.of(services)
    app = create_app(
        services,
        on_sample=dashboard.samples.add,
        is_page=is_page,
        # A form that holds the file, and a little more.
        body_limits={OPML_PATH: services.settings.fetch_max_bytes + DEFAULT_BODY_BYTES},
    )
    install_dashboard(app, dashboard)
    return app


def install_dashboard(app: FastAPI, dashboard: DashboardParts) -> None:
    """Add pages and static files to an application of :func:`server.api.app.create_app`."""
    app.state.dashboard = dashboard
    app.mount(STATIC_PATH, _StaticFiles(directory=STATIC), name="dashboard-static")
    add_routes(app, (*ROUTERS, _lost))


def is_page(path: str) -> bool:
    """Return whether a path is the dashboard's, which looks after its session itself."""
    return path in ("/", "/admin", API_PATH) or path.startswith(("/admin/", f"{API_PATH}/"))


@_lost.api_route("/admin/{path:path}", methods=["GET", "POST"])
@_lost.get(API_PATH + "/{path:path}")
def show_nothing(request: Request) -> Response:
    """Answer that there is no such page."""
    raise HTTPException(404)


class _StaticFiles(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_STATIC_HEADERS)
        return response
