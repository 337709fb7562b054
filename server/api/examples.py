"""Examples that the OpenAPI document shows: what to send, what comes back, what goes wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

_OPML = """\
<opml version="2.0">
  <body>
    <outline type="rss" text="LWN" xmlUrl="https://lwn.net/headlines/rss"/>
  </body>
</opml>
"""
_COUNTS = {
    "fetched": 120,
    "new": 7,
    "updated": 2,
    "unchanged": 109,
    "duplicate": 1,
    "superseded": 0,
    "dead": 1,
    "removed": 0,
    "pending": 0,
}

# Bodies to send, by operation; each operation's examples by what they do.
BODIES: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("POST", "/imports/start"): {
        "every enabled feed": {},
        "some feeds": {"sources": ["lwn", "jobs"]},
        "a URL": {"url": "https://lwn.net/headlines/rss"},
        "a document": {"document": '<rss version="2.0"><channel/></rss>', "source": "upload"},
    },
    ("POST", "/feeds"): {
        "every half hour": {"url": "https://lwn.net/headlines/rss", "interval_s": 1800},
        "at six, UTC": {
            "url": "https://lwn.net/headlines/rss",
            "source": "lwn",
            "cron": "0 6 * * *",
        },
        "manual only": {"url": "https://lwn.net/headlines/rss", "interval_s": None},
        "by intervals of an hour": {
            "url": "https://jobs.example/feed?from={start}&to={ended}",
            "source": "jobs",
            "window": {"from": "2026-11-01T00:00:00Z", "step_s": 3600},
        },
    },
    ("PATCH", "/feeds/{source}"): {
        "disable": {"enabled": False},
        "every six hours": {"interval_s": 21600},
        "send a header": {"headers": {"X-Token": "…"}},
    },
    ("POST", "/feeds/bulk"): {
        "tag": {"sources": ["lwn", "jobs"], "action": "add_tag", "tag": "linux"},
        "disable": {"sources": ["lwn", "jobs"], "action": "disable"},
        "import now": {"sources": ["lwn", "jobs"], "action": "import"},
    },
    ("POST", "/feeds/opml"): {"one feed": _OPML},
    ("POST", "/feeds/discover"): {"a page": {"url": "https://lwn.net/"}},
    ("POST", "/feeds/{source}/reparse"): {
        "all that is kept": {},
        "what was fetched since": {"since": "2026-11-01T00:00:00Z"},
    },
    ("POST", "/feeds/{source}/rollback"): {
        "to a time": {"to": "2026-11-01T00:00:00Z"},
        "to a page": {"to": 12},
    },
    ("POST", "/feeds/{source}/backfill"): {
        "a month": {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"},
        "back to a time": {"from": "2026-10-01T00:00:00Z"},
    },
    ("POST", "/dlq/replay"): {
        "some": {"ids": ["lwn#https://lwn.net/Articles/1/"]},
        "of a feed": {"source": "lwn"},
        "of the same cause": {"cause": "rejected_by_store: Document failed validation"},
        "all": {"all": True},
    },
    ("POST", "/queues/{name}/clean"): {
        "failed jobs older than a day": {"state": "failed", "grace_ms": 86_400_000}
    },
    ("POST", "/queues/{name}/replay"): {
        "all": {},
        "some": {"ids": ["17"]},
        "by reason": {"reason": "timeout"},
    },
    ("PUT", "/settings/rate-limit"): {
        "200 items a second": {"max": 200, "duration_ms": 1000},
        "and 20 of one feed": {"max": 200, "duration_ms": 1000, "source_max": 20},
        "no limit": {"max": 0, "duration_ms": 1000},
    },
}

# What comes back, where the schema alone says little.
ANSWERS: Mapping[tuple[str, str], Any] = {
    ("GET", "/imports/{import_id}"): {
        "id": "6929c1f0a7d2",
        "source": "lwn",
        "url": "https://lwn.net/headlines/rss",
        "trigger": "api",
        "state": "completed",
        "http_status": 200,
        "not_modified": False,
        "error": None,
        "error_kind": None,
        "warnings": [],
        "fetches": [
            {
                "url": "https://lwn.net/headlines/rss",
                "http_status": 200,
                "not_modified": False,
                "error": None,
            }
        ],
        "requested_at": "2026-11-01T12:00:00.000Z",
        "started_at": "2026-11-01T12:00:00.020Z",
        "finished_at": "2026-11-01T12:00:02.310Z",
        "counts": _COUNTS,
    },
    ("GET", "/imports/{import_id}/events"): (
        'event: import\ndata: {"id": "6929c1f0a7d2", "source": "lwn", "state": "importing", …}\n\n'
    ),
    ("GET", "/feeds.opml"): _OPML,
    ("GET", "/metrics"): (
        'bullmq_jobs_processed_total{queue="job_import_queue",status="completed"} 1042.0\n'
        'bullmq_queue_size{queue="job_import_queue",state="waiting"} 17.0\n'
    ),
}


@dataclass(frozen=True, slots=True)
class ProblemExample:
    """When a problem comes, and what it looks like."""

    description: str
    example: Mapping[str, Any]


def _example(
    status: int, description: str, detail: str, **members: object
) -> tuple[int, ProblemExample]:
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return status, ProblemExample(description, {**document, "detail": detail, **members})


PROBLEMS: Mapping[int, ProblemExample] = dict(
    (
        _example(
            400,
            "The Host header names a host that this server does not answer to",
            "this server does not answer to the host 'feeds.example.com': use its address on this "
            "machine, or name the host in ALLOWED_HOSTS and restart it",
        ),
        _example(
            401,
            "The key is missing, wrong or expired",
            "API key required: send Authorization: Bearer KEY",
        ),
        _example(
            403,
            "The key may only read, or the request comes from a page of another site",
            "POST not allowed with a read-only key; use the server's API_KEY",
        ),
        _example(404, "What the path names does not exist", "there is no feed 'lwn'"),
        _example(
            405,
            "The path does not have this method",
            "PUT not allowed; use GET or POST",
        ),
        _example(409, "In conflict with what is there", "source 'lwn' is taken by another feed"),
        _example(413, "The body is too large", "the body is larger than 1048576 bytes"),
        _example(
            415,
            "The body is not JSON",
            "the body must be JSON: Content-Type: application/json",
        ),
        _example(
            422,
            "A value is not accepted",
            "body.interval_s: must be at least 1",
            errors=[
                {
                    "field": "body.interval_s",
                    "message": "must be at least 1",
                }
            ],
        ),
        _example(
            429,
            "Too many calls that start work (API_RATE_LIMIT)",
            "more than 60/minute calls that start work (API_RATE_LIMIT); try again in 12 s",
        ),
        _example(
            502,
            "The URL could not be fetched, or is neither a feed nor a web page",
            "http_status: the server answered 500",
            kind="http_status",
        ),
        _example(
            503,
            "Redis or MongoDB is not available",
            "MongoDB is not available; send the same request again later",
        ),
        _example(
            504,
            "Fetching the URL took too long",
            "timeout: no answer within 30 s",
            kind="timeout",
        ),
    )
)
