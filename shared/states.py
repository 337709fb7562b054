"""Words that the record, the API and the command line share; no store is needed to know them."""

from enum import StrEnum


class Trigger(StrEnum):
    """Who started an import. Only scheduled ones wait for Retry-After and move the schedule."""

    API = "api"
    CLI = "cli"
    SCHEDULE = "schedule"
    REPLAY = "replay"
    PULL = "pull"


class ImportState(StrEnum):
    """Where an import is. Queued, fetching and importing ones are open."""

    QUEUED = "queued"
    FETCHING = "fetching"
    IMPORTING = "importing"
    COMPLETED = "completed"
    FAILED = "failed"


class FeedOrder(StrEnum):
    """How a list of feeds is sorted; a feed that lacks what it is sorted by stands at the end."""

    ADDED = "added"
    STATE = "state"
    TITLE = "title"
    LAST_IMPORT = "last_import"
    NEXT_FETCH = "next_fetch"
