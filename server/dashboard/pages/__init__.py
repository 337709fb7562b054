"""The pages, one router each; add yours to ``ROUTERS``."""

from server.dashboard.pages import login, overview

ROUTERS = (login.router, overview.router)
