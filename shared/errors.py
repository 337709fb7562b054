"""Every error that crosses a module's border, as one tree.

::

    FeedmillError
    ├── SettingsError                 a setting is wrong; the start stops
    ├── AppError                      queues of one's own that cannot be worked as they are declared
    ├── EmbeddedStoreError            an embedded store cannot be had or started
    ├── QueueError
    │   ├── QueueUnavailable          Redis cannot serve now (retryable)
    │   │   ├── QueueFull             Redis is at maxmemory (retryable)
    │   │   └── QueueRefused          Redis answers, but not us: a right, or a key's node
    │   ├── InvalidJobId              an id that BullMQ's layout cannot hold
    │   ├── UnencodableJob            data that JSON cannot hold
    │   ├── DoomedJob                 a claimed job that must be failed, not run
    │   ├── Postponed                 a claimed job whose time has not come
    │   ├── RunOverdue                a claimed job whose run takes longer than allowed (retryable)
    │   ├── InvalidJobOptions         an option that a job cannot be added with
    │   ├── AddLimitExceeded          a caller adds more than its limit allows (retryable)
    │   ├── JobNotFound               a job that is not there
    │   ├── JobStateError             a job whose state does not allow what is asked
    │   ├── JobFailed                 a job that was waited for has failed
    │   ├── UnrecoverableError        for handlers: no more attempts
    │   ├── RateLimitError            for handlers: back to the front of the line, not tried
    │   └── JobMoved                  for handlers: they have moved their job themselves
    │       ├── DelayedError          with move_to_delayed
    │       ├── WaitingError          with move_to_wait
    │       └── WaitingChildrenError  with move_to_waiting_children
    ├── StoreError
    │   ├── StoreUnavailable          MongoDB cannot serve, or has not confirmed (retryable)
    │   │   └── StoreRefused          MongoDB answers, but not us: a right is missing
    │   └── UnreadableDocument        a document that somebody else has written, or spoilt
    ├── FetchError                    a URL could not be fetched
    ├── ParseError                    a document is not a feed
    ├── ItemError                     one item cannot be stored, whatever is tried
    ├── ChildEnded                    a process of the service ended though nobody asked it to
    ├── ReachedLatest                 an indexer has no further interval just now (retryable)
    │   └── InFlightLimit             as many of its intervals are open as may be (retryable)
    ├── StaleEpoch                    an interval whose epoch was rolled back
    ├── ServiceError                  the running service refused a call, or does not answer
    ├── NotFoundError                 a name that nothing has (HTTP 404)
    ├── ConflictError                 a state that does not allow it (HTTP 409)
    ├── InvalidRequestError           a value that cannot be accepted (HTTP 422)
    └── BusyError                     too much of it at once (HTTP 503, retryable)

A driver's exceptions are mapped where the driver is used (``shared/queue``, ``shared/store``,
``server/fetching``) and do not leave it; the original is chained with ``raise … from``.
``retryable`` says whether the same call may succeed later without anybody changing anything.
"""

from collections.abc import Collection
from datetime import datetime

from shared.error_kinds import ErrorKind
from shared.reasons import shown


class FeedmillError(Exception):
    """Root of all errors that Feedmill raises on purpose."""

    retryable = False


class SettingsError(FeedmillError):
    """A setting is wrong. The text is one line: variable, value, what is accepted."""


class AppError(FeedmillError):
    """What a program declares cannot be worked. The text is one line that names its module."""


class EmbeddedStoreError(FeedmillError):
    """An embedded store is not installed, or did not start."""


class QueueError(FeedmillError):
    """Something about a queue; see the subclasses."""


class QueueUnavailable(QueueError):
    """Redis is down, loading, read-only or failing over. Nothing is known of the call's effect."""

    retryable = True


class QueueFull(QueueUnavailable):
    """Redis refuses writes because it is at ``maxmemory``. Settling jobs still works."""


class QueueRefused(QueueUnavailable):
    """Redis answers, but refuses a command that is needed: nobody's job is at fault.

    Handled as an outage, for it ends without us: when somebody grants the right. ``what`` is the
    command, or what else is refused, in words that anybody may read. ``is_cluster``: because it is
    a Redis Cluster whose keys are not all on the node that was asked.
    """

    def __init__(self, reason: str, *, what: str, is_cluster: bool = False) -> None:
        super().__init__(reason)
        self.what = what
        self.is_cluster = is_cluster


class InvalidJobId(QueueError):
    """A job id that BullMQ's layout reserves or that Node's BullMQ would refuse."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"job id {job_id[:80]!r}: {reason}")
        self.job_id = job_id


class UnencodableJob(QueueError):
    """A job's data or result holds something that JSON or UTF-8 cannot."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(
            f"job {job_id[:80]!r}: its data, result or progress cannot be written as JSON: {reason}"
        )
        self.job_id = job_id


class DoomedJob(QueueError):
    """A claimed job to be failed without running it: it stalled too often, or a child failed."""


class Postponed(QueueError):
    """A claimed job whose time has not come: nothing was tried, it wants to run in ``delay_ms``."""

    def __init__(self, delay_ms: int, reason: str) -> None:
        super().__init__(reason)
        self.delay_ms = delay_ms


class RunOverdue(QueueError):
    """A run that takes longer than its queue allows; its job is charged with an attempt."""

    retryable = True


class InvalidJobOptions(QueueError):
    """An option that a job cannot be added with; the text is one line."""

    def __init__(self, option: str, value: object, accepted: str) -> None:
        super().__init__(f"{option}={shown(value)[:80]}: accepted is {accepted}")
        self.option = option


class UnknownJobOption(InvalidJobOptions):
    """An option that there is not; the text names those that there are."""

    def __init__(self, option: str, known: Collection[str]) -> None:
        QueueError.__init__(
            self, f"there is no option {option[:80]!r}; there are {', '.join(sorted(known))}"
        )
        self.option = option


class AddLimitExceeded(QueueError):
    """A caller adds more jobs than its limit allows; its window ends in ``retry_in_ms``."""

    retryable = True

    def __init__(self, caller: str, retry_in_ms: int) -> None:
        super().__init__(f"{caller[:80]!r} adds too many jobs: again in {retry_in_ms} ms")
        self.caller = caller
        self.retry_in_ms = retry_in_ms


class JobNotFound(QueueError):
    """A job that is not there, or no longer."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id[:80]!r} is not there")
        self.job_id = job_id


class JobStateError(QueueError):
    """What is asked of a job does not fit its state."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"job {job_id[:80]!r}: {reason}")
        self.job_id = job_id


class JobFailed(QueueError):
    """A job that somebody waited for has failed for good; the text is its reason."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(reason)
        self.job_id = job_id


class UnrecoverableError(QueueError):
    """A handler raises it when no further attempt can help: the job fails at once."""


class RateLimitError(QueueError):
    """A handler raises it when it may not go on now: its job goes back to the front of the line.

    No attempt is counted. Limit the queue before (``Queue.rate_limit``), or the job comes again at
    once; its worker claims nothing while that limit lasts.
    """

    def __init__(self, reason: str = "bullmq:rateLimitExceeded") -> None:
        super().__init__(reason)


class JobMoved(QueueError):
    """A handler raises one of these when it has moved its job itself: nothing is to be settled."""


class DelayedError(JobMoved):
    """A handler raises it after ``move_to_delayed``."""


class WaitingError(JobMoved):
    """A handler raises it after ``move_to_wait``."""


class WaitingChildrenError(JobMoved):
    """A handler raises it after ``move_to_waiting_children``."""


class StoreError(FeedmillError):
    """MongoDB refused an operation for a reason that repeating will not cure."""


class StoreUnavailable(StoreError):
    """MongoDB is down, has no primary, timed out or did not confirm a write. Effect unknown."""

    retryable = True


class StoreRefused(StoreUnavailable):
    """MongoDB answers, but refuses this login an operation: no document is at fault.

    Handled as an outage, for it ends without us: when somebody grants the right. ``what`` is the
    action that is refused, in words that anybody may read.
    """

    def __init__(self, reason: str, *, what: str) -> None:
        super().__init__(reason)
        self.what = what


class UnreadableDocument(StoreError):
    """A document of MongoDB does not hold what it should: somebody else has changed it."""

    def __init__(self, collection: str, document_id: object, reason: str) -> None:
        self.collection = collection
        self.document_id = document_id
        super().__init__(self.explain(reason))

    def explain(self, reason: str) -> str:
        """Return the message with another reason than its own, which quotes the document."""
        where = f"{self.collection}: document {str(self.document_id)[:80]!r}"
        return f"{where} cannot be read: {reason}; correct it in MongoDB, or delete it"


class FetchError(FeedmillError):
    """A URL could not be fetched.

    ``kind`` is one of :class:`ErrorKind`. ``host`` is the one that was being asked when it failed,
    the target of a redirect perhaps; None when nobody was. ``retry_after_s`` is what it asked for,
    if it did.
    """

    def __init__(
        self,
        url: str,
        kind: ErrorKind,
        reason: str,
        *,
        retryable: bool = False,
        http_status: int | None = None,
        retry_after_s: float | None = None,
        host: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.url = url
        self.kind = kind
        self.retryable = retryable
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.host = host


class ParseError(FeedmillError):
    """A document is not a feed that can be read; ``kind`` is one of :class:`ErrorKind`."""

    def __init__(self, kind: ErrorKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class ItemError(FeedmillError):
    """One item cannot be stored, whatever is tried.

    ``error_type`` is a stable word: ``undecodable``, ``invalid``, ``too_large``, ``unencodable``,
    ``rejected_by_store``, ``stalled``, ``unreadable``.
    """

    def __init__(self, error_type: str, reason: str) -> None:
        super().__init__(reason)
        self.error_type = error_type


class ChildEnded(FeedmillError):
    """A process of the service ended though nobody asked it to; ``exit_code`` is never 0."""

    def __init__(self, name: str, exit_code: int) -> None:
        code = exit_code or 1
        super().__init__(f"{name} ended unexpectedly with code {exit_code}; everything is stopped")
        self.exit_code = code


class ReachedLatest(FeedmillError):
    """An indexer has no further interval just now; ``retry_at`` is when it has, if that is known.

    Not a failure: whoever dispatches intervals ends its round here.
    """

    retryable = True

    def __init__(self, reason: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(reason)
        self.retry_at = retry_at


class InFlightLimit(ReachedLatest):
    """As many intervals of an indexer are open as may be at a time."""


class StaleEpoch(FeedmillError):
    """An interval's epoch is not its indexer's: it was rolled back, and is not to be worked on."""

    def __init__(self, name: str, epoch: int, current: int | None) -> None:
        now = "is gone" if current is None else f"is at epoch {current}"
        super().__init__(f"epoch {epoch} of {name!r} was rolled back: it {now}")
        self.name = name
        self.epoch = epoch
        self.current = current


class ServiceError(FeedmillError):
    """The running service answered a call with an error, or not at all (``http_status`` None).

    ``retry_after_s`` is how long it asks to wait, if it does.
    """

    def __init__(
        self, reason: str, *, http_status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.retryable = http_status in (None, 429, 502, 503, 504)


class NotFoundError(FeedmillError):
    """A feed, import, item, queue, job or dead letter that does not exist."""


class ConflictError(FeedmillError):
    """What is asked does not fit the state things are in."""


class InvalidRequestError(FeedmillError):
    """A value in a request cannot be accepted."""


class BusyError(FeedmillError):
    """As much of this as may be done at a time is being done already."""

    retryable = True
