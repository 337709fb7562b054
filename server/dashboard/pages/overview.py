"""The overview: whether all is well, and what holds things up."""

from fastapi import Request
from starlette.responses import Response

from server.dashboard.page_route import page_router
from server.dashboard.rendering import render

router = page_router()


@router.get("/")
def show_overview(request: Request) -> Response:
    """Show the overview."""
    return render(request, "overview/page.html")
