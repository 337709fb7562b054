"""What the API answers at which path, one router a subject; add yours to ``ROUTERS``."""

from server.api.routes import (
    dead_letters,
    feed_bulk,
    feeds,
    imports,
    items,
    queues,
    settings,
    system,
    windows,
)

ROUTERS = tuple(
    routes.router
    for routes in (
        imports,
        feeds,
        feed_bulk,
        windows,
        items,
        queues,
        dead_letters,
        settings,
        system,
    )
)
