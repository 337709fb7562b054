"""The forms for feeds: a new one by its URL or that of a page, an OPML file, changes to one."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import File, Form, Request, UploadFile
from starlette.responses import Response

from server.api.feed_bodies import FeedChangeRequest, NewFeedRequest
from server.api.parts import ApiParts, Parts, count_start
from server.api.problems import EXPLAINED_ERRORS
from server.api.routes import feeds as feed_routes
from server.dashboard.advice import advise
from server.dashboard.rendering import redirect, render
from server.dashboard.site import describe_problem, page_router, show_problem
from server.dashboard.window_fields import FORMAT_NAMES, WindowFields, fields_of
from server.feeds.windows import read_window
from server.fetching.addresses import mask_url
from server.parsing.parsed import NamedFeed
from shared.error_kinds import ErrorKind
from shared.errors import ConflictError, FetchError, InvalidRequestError, ParseError
from shared.store import Feed

router = page_router()

FEEDS_PATH = "/admin/feeds"
EXPORT_PATH = "/admin/feeds-export"
# Paths of one feed hold its source, which is a slug: no word below is one of them.
FEED_PATH = FEEDS_PATH + "/{source}"
ADD_PATH = "/admin/feeds-add"
OPML_PATH = "/admin/feeds-opml"
UNITS = {"1": "seconds", "60": "minutes", "3600": "hours", "86400": "days"}
_MAX_DIGITS = 9
_NO_FEED = (
    "This is a web page without a link to a feed. Look for the feed's URL on it and type that in."
)


class FeedForm(WindowFields):
    """The fields as they were typed: kept, whatever is wrong with them."""

    urls: str = ""
    source: str = ""
    title: str = ""
    tags: str = ""
    schedule: str = "interval"
    every: str = ""
    unit_s: str = "60"
    cron: str = ""
    headers: str = ""
    kept_headers: list[str] = []
    weight: str = ""
    as_is: bool = False
    chosen: list[str] = []

    @classmethod
    def of(cls, feed: Feed) -> "FeedForm":
        """Return the form filled with a feed as it is; secrets are masked, headers are names."""
        every, unit_s = _split_interval(feed.interval_s)
        return cls(
            urls="\n".join(mask_url(url) for url in feed.urls),
            source=feed.source,
            schedule="cron" if feed.cron else "interval" if feed.interval_s else "none",
            every=every,
            unit_s=unit_s,
            cron=feed.cron or "",
            kept_headers=list(feed.headers),
            weight=feed.weight or "",
            title=feed.title or "",
            tags=" ".join(feed.tags),
            **fields_of(read_window(feed)),
        )

    @property
    def all_urls(self) -> list[str]:
        """The URLs, one a line; one without a scheme gets ``https://``."""
        lines = (line.strip() for line in self.urls.splitlines())
        return [line if "://" in line else f"https://{line}" for line in lines if line]

    def new_feed(self, url: str) -> dict[str, Any]:
        """Return the body that adds a feed with this URL.

        Raises:
            InvalidRequestError: an interval that is no number, a header without a colon, or a
                window that cannot be read.
        """
        chosen = {
            "source": self.source.strip(),
            "title": self.title.strip(),
            "tags": self._typed_tags(),
            "headers": self._typed_headers(),
            "weight": self.weight,
            "window": self.window(),
        }
        given = {name: value for name, value in chosen.items() if value}
        return {"url": url, **self._schedule(), **given}

    def changes(self, feed: Feed) -> dict[str, Any]:
        """Return the body that changes a feed into what was typed.

        A masked URL stands for the stored one, and headers that were kept keep their values.

        Raises:
            InvalidRequestError: as for :meth:`new_feed`.
        """
        stored = {mask_url(url): url for url in feed.urls}
        urls = [stored.get(url, url) for url in self.all_urls]
        kept = {name: feed.headers[name] for name in self.kept_headers if name in feed.headers}
        body = {
            **self._schedule(),
            "weight": self.weight or None,
            "title": self.title.strip() or None,
            "tags": self._typed_tags(),
            "window": self.window(read_window(feed)),
            "headers": kept | self._typed_headers(),
        }
        return body | {"urls": urls} if urls or feed.urls else body

    def _schedule(self) -> dict[str, Any]:
        if self.schedule == "cron":
            return {"cron": self.cron.strip()}
        if self.schedule == "none":
            return {"interval_s": None, "cron": None}
        every = self.every.strip()
        if not every:
            return {}
        if not (every.isascii() and every.isdecimal() and len(every) <= _MAX_DIGITS):
            raise InvalidRequestError(f"every {every[:40]!r}: a whole number is accepted")
        return {"interval_s": int(every) * int(self.unit_s if self.unit_s in UNITS else "1")}

    def _typed_tags(self) -> list[str]:
        return self.tags.replace(",", " ").split()

    def _typed_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for line in filter(None, map(str.strip, self.headers.splitlines())):
            name, colon, value = line.partition(":")
            # The value may be a secret: it is not repeated.
            if not colon or not name.strip():
                raise InvalidRequestError(f"header {name[:40]!r}: accepted is Name: value")
            headers[name.strip()] = value.strip()
        return headers


@router.get(ADD_PATH)
def show_add_form(request: Request, parts: Parts) -> Response:
    """Show the form for a new feed."""
    return _render_form(request, parts, FeedForm())


@router.post(ADD_PATH)
def add_feed(request: Request, parts: Parts, form: Annotated[FeedForm, Form()]) -> Response:
    """Add what a URL leads to: a feed, the one feed of a page, or those that are chosen."""
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


@router.get(FEED_PATH + "/edit")
def show_edit_form(request: Request, parts: Parts, source: str) -> Response:
    """Show the form that changes a feed."""
    feed = parts.services.feeds.get(source)
    return _render_edit_form(request, feed.source, FeedForm.of(feed), list(feed.headers), {})


@router.post(FEED_PATH + "/edit")
def change_feed(
    request: Request, parts: Parts, source: str, form: Annotated[FeedForm, Form()]
) -> Response:
    """Change a feed; what is wrong is shown beside what was typed."""
    feed = parts.services.feeds.get(source)
    try:
        wanted = FeedChangeRequest.model_validate(form.changes(feed))
        feed_routes.change_feed(parts, source, wanted)
    except EXPLAINED_ERRORS as exc:
        problem = show_problem(request, exc)
        return _render_edit_form(request, source, form, list(feed.headers), problem)
    return redirect(request, f"{FEEDS_PATH}/{source}", f"Feed {source} is changed.")


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
    """Add the feeds of an OPML file, and list which were added, skipped and invalid."""
    document = file.file.read() if file is not None and file.filename else text.encode()
    context: dict[str, Any] = {"report": None, "text": text, "export_path": EXPORT_PATH}
    try:
        if not document:
            raise InvalidRequestError("choose a file, or paste its text")
        context["report"] = feed_routes.import_opml(parts, document)
    except EXPLAINED_ERRORS as exc:
        context |= show_problem(request, exc)
    return render(request, "feeds/opml.html", **context)


def add_choices(parts: ApiParts) -> dict[str, Any]:
    """Return what the form for a new feed offers."""
    default_interval_s = parts.services.settings.fetch_interval_s
    return {"units": UNITS, "formats": FORMAT_NAMES, "default_interval_s": default_interval_s}


def _look_at(parts: ApiParts, form: FeedForm) -> list[NamedFeed]:
    """Return the feeds behind the URL; itself, as it was typed, if it is one."""
    urls = form.all_urls
    if len(urls) != 1:
        raise InvalidRequestError("URL: type the URL of a feed, or of a page that links to one")
    # What is behind a header, or a time in the URL, cannot be looked at without it.
    if form.as_is or form.headers.strip() or form.has_window:
        return [NamedFeed(urls[0], None, None)]
    discovery = parts.services.discoverer.discover(urls[0])
    if discovery.is_feed:
        return [NamedFeed(urls[0], None, None)]
    if not discovery.feeds:
        raise ParseError(ErrorKind.HTML, _NO_FEED)
    return list(discovery.feeds)


def _add_all(request: Request, parts: ApiParts, form: FeedForm, urls: list[str]) -> Response:
    """Add feeds and import them now; those that are there already are named."""
    if len(urls) == 1:
        source = _add_one(parts, form, urls[0])
        text = f"Feed {source} is added and is being imported."
        return redirect(request, f"{FEEDS_PATH}/{source}", text)
    if form.source.strip():
        raise InvalidRequestError("source: leave it empty for several feeds, or choose one")
    added, refused = 0, []
    for url in urls:
        try:
            _add_one(parts, form, url)
            added += 1
        except (ConflictError, InvalidRequestError) as exc:
            refused.append(describe_problem(request, exc))
    text = "; ".join([f"{added} feeds are added and are being imported", *refused]) + "."
    return redirect(request, FEEDS_PATH, text, level="warning" if refused else "done")


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
        error_kind=kind,
        **add_choices(parts),
        **problem,
    )


def _render_edit_form(
    request: Request,
    source: str,
    form: FeedForm,
    header_names: list[str],
    problem: Mapping[str, Any],
) -> Response:
    return render(
        request,
        "feeds/edit.html",
        source=source,
        form=form,
        header_names=header_names,
        units=UNITS,
        formats=FORMAT_NAMES,
        **problem,
    )


def _split_interval(interval_s: int | None) -> tuple[str, str]:
    """Return an interval as a number and its largest unit, as the form shows it."""
    if interval_s is None:
        return "", "60"
    unit_s = max(int(unit) for unit in UNITS if interval_s % int(unit) == 0)
    return str(interval_s // unit_s), str(unit_s)
