"""Help: the documentation, for whoever has only the package, and no network."""

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from server.dashboard.manual import HELP_PATH, page_names, read_page
from server.dashboard.rendering import render, root_path_of
from server.dashboard.site import page_router

router = page_router()


@router.get(HELP_PATH)
def list_pages(request: Request) -> Response:
    """List the pages of the documentation."""
    pages = [read_page(name, root_path_of(request)) for name in page_names()]
    return render(request, "help/list.html", pages=pages)


@router.get(HELP_PATH + "/{name}")
def show_page(request: Request, name: str) -> Response:
    """Show a page of the documentation."""
    if name not in page_names():
        raise HTTPException(404)
    return render(request, "help/page.html", page=read_page(name, root_path_of(request)))
