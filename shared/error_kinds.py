"""What went wrong with an import, as words for programs."""

from enum import StrEnum


class ErrorKind(StrEnum):
    """What went wrong with an import, as a stable word for programs."""

    # A URL could not be fetched.
    REFUSED_ADDRESS = "refused_address"
    BAD_URL = "bad_url"
    NO_URL = "no_url"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"  # also: no parser was free in time
    HTTP_STATUS = "http_status"
    BLOCKED = "blocked"
    GONE = "gone"
    RATE_LIMITED = "rate_limited"
    TOO_LARGE = "too_large"
    REDIRECT = "redirect"
    ENCODING = "encoding"
    # A document is not a feed that can be read.
    HTML = "html"
    WAF_CHALLENGE = "waf_challenge"
    JSON_ERROR = "json_error"  # an error in JSON, or no JSON
    EMPTY = "empty"
    NOT_A_FEED = "not_a_feed"
    DAMAGED = "damaged"  # no whole item in it
    REFUSED = "refused"  # entity bombs, depth
    LIMITS = "limits"  # too many items or parts, or too much time or memory
    # The import itself came to nothing.
    FEED_DELETED = "feed_deleted"
    RUN_LOST = "run_lost"  # its runs ended again and again without a result
    REPLAY_LOST = "replay_lost"
    STALE_EPOCH = "stale_epoch"  # its interval was rolled back
    UNREADABLE_FEED = "unreadable_feed"  # a document of MongoDB that somebody has spoilt
    UNREADABLE_RECORD = "unreadable_record"
    INTERNAL = "internal"  # an error of our own
