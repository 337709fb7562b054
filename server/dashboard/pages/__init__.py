"""The pages, one router each; add yours to ``ROUTERS``."""

from server.dashboard.pages import dead_letters, login, overview, queues

ROUTERS = (login.router, overview.router, queues.router, dead_letters.router)
