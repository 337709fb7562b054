"""The pages, one router each; add yours to ``ROUTERS``."""

from server.dashboard.pages import (
    api,
    dead_letters,
    feed_forms,
    feed_list,
    feeds,
    help,
    imports,
    items,
    login,
    overview,
    queues,
    settings,
    windows,
)

ROUTERS = tuple(
    page.router
    for page in (
        login,
        overview,
        imports,
        feed_list,
        feeds,
        feed_forms,
        windows,
        queues,
        dead_letters,
        items,
        settings,
        api,
        help,
    )
)
