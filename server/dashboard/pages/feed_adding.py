"""Adding feeds: by an address, which may be a page that names some; or by an OPML file."""

from typing import Annotated, Any

from fastapi import File, Form, Request, UploadFile
from starlette.responses import Response

from server.api.feed_bodies import NewFeedRequest
from server.api.parts import ApiParts, Parts, count_start
from server.api.problems import EXPLAINED_ERRORS
from server.api.routes import feeds as feed_routes
from server.dashboard.feed_form import FeedForm
from server.dashboard.import_advice import advise
from server.dashboard.page_route import page_router
from server.dashboard.pages.feeds import EXPORT_PATH, FEEDS_PATH, add_choices
from server.dashboard.problem_text import describe_problem, show_problem
from server.dashboard.rendering import redirect, render
from server.fetching.addresses import mask_url
from server.parsing.parsed import NamedFeed
from shared.errors import ConflictError, ErrorKind, FetchError, InvalidRequestError, ParseError

router = page_router()

ADD_PATH = "/admin/feeds-add"
OPML_PATH = "/admin/feeds-opml"
_NO_FEED = (
    "This is a web page that names no feed. Look on it for a link to its feed and give that "
    "address."
)


@router.get(ADD_PATH)
def show_add_form(request: Request, parts: Parts) -> Response:
    """Show the form for a new feed."""
    return _render_form(request, parts, FeedForm())


@router.post(ADD_PATH)
def add_feed(request: Request, parts: Parts, form: Annotated[FeedForm, Form()]) -> Response:
    """Add what an address leads to: a feed, the one feed of a page, or those that are chosen."""
    try:
        count_start(request, parts)
        if form.chosen:
            return _add_all(request, parts, form, form.chosen)
        found = _look_at(parts, form)
        if len(found) > 1:
            return render(request, "feeds/choose.html", form=form, found=found, mask=mask_url)
        return _add_all(request, parts, form, [found[0].url])
    except EXPLAINED_ERRORS as exc:
        return _render_form(request, parts, form, exc)


@router.get(OPML_PATH)
def show_opml_form(request: Request) -> Response:
    """Show the form for an OPML file, and the way to get one."""
    return render(request, "feeds/opml.html", report=None, text="", export_path=EXPORT_PATH)


@router.post(OPML_PATH)
def import_opml(
    request: Request,
    parts: Parts,
    file: Annotated[UploadFile | None, File()] = None,
    text: Annotated[str, Form()] = "",
) -> Response:
    """Add the feeds of an OPML file, and say which were added, known and invalid."""
    document = file.file.read() if file is not None and file.filename else text.encode()
    context: dict[str, Any] = {"report": None, "text": text, "export_path": EXPORT_PATH}
    try:
        if not document:
            raise InvalidRequestError("choose a file, or paste its text")
        context["report"] = feed_routes.import_opml(parts, document)
    except EXPLAINED_ERRORS as exc:
        context |= show_problem(request, exc)
    return render(request, "feeds/opml.html", **context)


def _look_at(parts: ApiParts, form: FeedForm) -> list[NamedFeed]:
    """Return the feeds behind the address; itself, as it was typed, if it is one."""
    addresses = form.addresses
    if len(addresses) != 1:
        raise InvalidRequestError("address: give the address of a feed, or of a page that has one")
    # What is behind a header cannot be looked at without it.
    if form.as_is or form.headers.strip():
        return [NamedFeed(addresses[0], None, None)]
    discovery = parts.services.discoverer.discover(addresses[0])
    if discovery.is_feed:
        return [NamedFeed(addresses[0], None, None)]
    if not discovery.feeds:
        raise ParseError(ErrorKind.HTML, _NO_FEED)
    return list(discovery.feeds)


def _add_all(request: Request, parts: ApiParts, form: FeedForm, urls: list[str]) -> Response:
    """Add feeds and import them now; those that are there already are named."""
    if len(urls) == 1:
        source = _add_one(parts, form, urls[0])
        said = f"Feed {source} is added and is being imported."
        return redirect(request, f"{FEEDS_PATH}/{source}", said)
    if form.source.strip():
        raise InvalidRequestError("source: leave it empty for several feeds, or choose one")
    added, refused = 0, []
    for url in urls:
        try:
            _add_one(parts, form, url)
            added += 1
        except (ConflictError, InvalidRequestError) as exc:
            refused.append(describe_problem(request, exc))
    said = "; ".join([f"{added} feeds are added and are being imported", *refused]) + "."
    return redirect(request, FEEDS_PATH, said, level="warning" if refused else "done")


def _add_one(parts: ApiParts, form: FeedForm, url: str) -> str:
    wanted = NewFeedRequest.model_validate(form.new_feed(url))
    added = feed_routes.add_feed(parts, wanted)
    parts.services.starter.start_sources([added.source])
    return added.source


def _render_form(
    request: Request, parts: ApiParts, form: FeedForm, error: Exception | None = None
) -> Response:
    problem = show_problem(request, error) if error is not None else {}
    kind = error.kind if isinstance(error, FetchError | ParseError) else None
    return render(
        request,
        "feeds/add.html",
        form=form,
        could_add_as_is=kind is not None,
        advice=advise(kind),
        **add_choices(parts),
        **problem,
    )
