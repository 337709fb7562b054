"""The HTTP application: routes, errors as problem documents, and what guards the door."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from server.api.guards import AllowedHosts, BearerAuth, SameOrigin, allowed_hosts
from server.api.keys import make_keys, make_page_tokens
from server.api.middleware import (
    DEFAULT_BODY_BYTES,
    BodyLimit,
    HeadAsGet,
    JsonOnly,
    SafeHeaders,
    UnexpectedErrors,
)
from server.api.openapi import describe_api
from server.api.parts import ApiParts
from server.api.problems import install_problem_handlers
from server.api.proxies import RootPath, TrustedProxies
from server.api.queue_status import QueueAnswer
from server.api.routes import ROUTERS
from server.api.routing import add_routes
from server.services import Services
from shared.errors import FeedmillError
from shared.logs import get_logger
from shared.settings import Settings

log = get_logger("server.api")

SAMPLE_EVERY_S, IDLE_SAMPLE_EVERY_S = 2.0, 5.0
# JSON may write one byte of a feed document as up to three: {"a": "б"} escaped, for one.
_JSON_OVERHEAD = 3
# Pages shrink to a sixth at level 5, in a millisecond; higher levels gain little. Event streams are
# left as they are.
GZIP_BYTES, GZIP_LEVEL = 1024, 5

IsPage = Callable[[str], bool]
OnSample = Callable[[Sequence[QueueAnswer]], None]


def create_app(
    services: Services, *, on_sample: OnSample, is_page: IsPage, body_limits: Mapping[str, int]
) -> FastAPI:
    """Make the application.

    ``on_sample`` is called every few seconds with what the queues look like, while Redis answers.
    ``is_page`` names the dashboard's paths: they need no API key (the dashboard asks for it) and
    set their own content policy. ``body_limits`` are paths that take larger bodies, with how many
    bytes. When a server is about to stop, call ``app.state.parts.events.stop_soon()``, or it waits
    for those who watch imports.
    """
    parts = ApiParts.of(services)
    app = FastAPI(
        title="Feedmill",
        version=version("feedmill"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(parts, on_sample),
        middleware=_middleware(services, is_page, body_limits),
    )
    app.state.parts = parts
    add_routes(app, ROUTERS)
    install_problem_handlers(app, ROUTERS)
    app.openapi = lambda: _describe(app, services.settings)  # type: ignore[method-assign]
    return app


def _middleware(
    services: Services, is_page: IsPage, body_limits: Mapping[str, int]
) -> list[Middleware]:
    settings = services.settings
    document_bytes = settings.fetch_max_bytes * _JSON_OVERHEAD + DEFAULT_BODY_BYTES
    limits = {"/imports/start": document_bytes, "/feeds/opml": settings.fetch_max_bytes}
    guards = [
        Middleware(SafeHeaders, is_page=is_page),
        Middleware(UnexpectedErrors),
        *_host_guards(settings),
        *_key_guard(services, is_page),
        Middleware(SameOrigin),
        Middleware(JsonOnly, is_exempt=lambda path: path == "/feeds/opml" or is_page(path)),
        Middleware(BodyLimit, limits={**limits, **body_limits}),
        Middleware(HeadAsGet),
    ]
    return [*_outer_middleware(settings), *guards]


def _outer_middleware(settings: Settings) -> list[Middleware]:
    """Return what gives all others paths without the root path, and packs answers."""
    pack = Middleware(GZipMiddleware, minimum_size=GZIP_BYTES, compresslevel=GZIP_LEVEL)
    if settings.root_path:
        return [Middleware(RootPath, root_path=settings.root_path), pack]
    return [pack]


def _host_guards(settings: Settings) -> list[Middleware]:
    """Return what checks the host of a request, before and after trusted proxies name another."""
    guard = Middleware(AllowedHosts, hosts=allowed_hosts(settings.host, settings.allowed_hosts))
    if not settings.trusted_proxies:
        return [guard]
    return [guard, Middleware(TrustedProxies, proxies=settings.trusted_proxies), guard]


def _key_guard(services: Services, is_page: IsPage) -> list[Middleware]:
    settings = services.settings
    keys = make_keys(settings.api_key, settings.api_read_keys)
    if not keys:
        return []
    tokens = make_page_tokens(keys, services.clock)
    return [Middleware(BearerAuth, keys=keys, tokens=tokens, is_open=is_page)]


def _lifespan(
    parts: ApiParts, on_sample: OnSample
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def run(_app: FastAPI) -> AsyncIterator[None]:
        sampler = asyncio.create_task(_sample_queues(parts, on_sample), name="queue-rates")
        try:
            yield
        finally:
            sampler.cancel()
            parts.events.stop()
            parts.readiness.close()

    return run


async def _sample_queues(parts: ApiParts, on_sample: OnSample) -> None:
    """Sample for ever: every 2 s while jobs move, every 5 s while none does."""
    while True:
        every_s = IDLE_SAMPLE_EVERY_S
        try:
            # Without Redis there is nothing to sample; requests answer 503.
            with suppress(FeedmillError):
                queues = await run_in_threadpool(parts.queue_status.show_all)
                on_sample(queues)
                every_s = SAMPLE_EVERY_S if any(each.is_moving for each in queues) else every_s
        except Exception:
            # Nobody would start another sampler: charts and rates would stand still.
            log.exception("queue_sample_failed")
        await asyncio.sleep(every_s)


def _describe(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = describe_api(
            app, root_path=settings.root_path, is_locked=settings.api_key is not None
        )
    return app.openapi_schema
