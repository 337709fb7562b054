"""Windows and back-fills as requests give them and as answers show them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.config import ConfigDict

from server.api.values import RequestBody, Time, read_moment, show_text, show_time, show_value
from server.feeds.progress import BackFillView
from server.feeds.windows import MAX_IN_FLIGHT, MAX_STEP_S, FeedWindow
from shared.models import format_time
from shared.store.intervals import IndexerState

_MAX_PAGE = 2**53 - 1


def _refuse_null(moment: datetime | None) -> datetime:
    if moment is None:
        raise ValueError("use RFC 3339, as in 2026-11-01T12:00:00Z")
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


# A time in a body: RFC 3339, to the millisecond.
GivenTime = Annotated[
    datetime,
    BeforeValidator(read_moment),
    AfterValidator(_refuse_null),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64}),
]


def _read_position(value: object) -> int | datetime:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _MAX_PAGE:
            raise ValueError(f"must be 0 to {_MAX_PAGE}")
        return value
    moment = read_moment(value) if isinstance(value, str) else None
    if not isinstance(moment, datetime):
        raise ValueError("use RFC 3339, as in 2026-11-01T12:00:00Z, or a page's number")
    return moment


# Where a window stands: a time, or a page's number.
GivenPosition = Annotated[
    int | datetime,
    PlainValidator(_read_position),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time", "maxLength": 64},
                {"type": "integer", "minimum": 0, "maximum": _MAX_PAGE},
            ]
        }
    ),
]


class WindowBody(RequestBody):
    """How a feed is read by intervals; its URLs hold `{start}` or `{ended}`."""

    from_: GivenTime = Field(alias="from", description="start of the first interval")
    step_s: int = Field(ge=1, le=MAX_STEP_S, description="length of an interval, seconds")
    in_flight: int = Field(
        1, ge=1, le=MAX_IN_FLIGHT, description="intervals fetched at the same time"
    )
    overlap_s: int = Field(
        0, ge=0, description="`{start}` is this many seconds before the interval"
    )
    lag_s: int = Field(
        0, ge=0, le=MAX_STEP_S, description="an interval ends at least this many seconds before now"
    )
    format: Literal["rfc3339", "epoch_s", "epoch_ms", "page"] = "rfc3339"
    first_page: int = Field(
        1, ge=0, le=_MAX_PAGE, description="number of the first page; with format page"
    )

    def to_window(self) -> FeedWindow:
        """Return it as feeds have it."""
        plain = self.model_dump(exclude={"from_"})
        return FeedWindow(starts_at=self.from_, **plain)


class RollbackRequest(RequestBody):
    """Where to read a windowed feed again from."""

    to: GivenPosition = Field(description="a time; with format page the number of a page")


class RollbackAnswer(BaseModel):
    """Position after a rollback; before `to` when earlier intervals were open."""

    epoch: int
    cursor: Time | int


class BackFillRequest(RequestBody):
    """Which part of a feed's past to import."""

    from_: GivenTime = Field(alias="from")
    to: GivenTime | None = Field(
        None, description="default: where the feed's window begins; not for feeds without a window"
    )


class PositionAnswer(BaseModel):
    """Position of a windowed feed."""

    epoch: int
    cursor: Time | int
    in_flight: int = Field(description="open intervals")


class IntervalCounts(BaseModel):
    """The intervals of a back-fill, or its pages; `total` of pages is not known."""

    total: int | None
    done: int
    in_flight: int
    failing: int = Field(description="waiting for the next attempt")


class BackFillItems(BaseModel):
    """The items of a back-fill's closed intervals."""

    fetched: int
    new: int
    dead: int


class EarlierBackFill(BaseModel):
    """A back-fill that has ended."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Time | None = Field(alias="from")
    to: Time | None
    state: str
    started_at: Time | None
    ended_at: Time | None
    intervals: int
    items: int


class BackFillAnswer(BaseModel):
    """A back-fill, and how far it is."""

    model_config = ConfigDict(populate_by_name=True)

    source: str
    from_: Time = Field(alias="from")
    to: Time | None = Field(description="null: from the newest page")
    state: Literal["running", "paused", "completed", "cancelled"]
    epoch: int
    intervals: IntervalCounts
    items: BackFillItems
    started_at: Time
    ended_at: Time | None
    seconds_left: float | None = Field(description="estimated from the last intervals")
    error: str | None
    history: list[EarlierBackFill] = Field(description="the feed's earlier ones, newest first")

    @classmethod
    def of(cls, view: BackFillView) -> Self:
        """Return a back-fill as the API shows it."""
        return cls(
            source=view.source,
            **{"from": format_time(view.starts_at)},
            to=show_time(view.until),
            state=view.state,
            epoch=view.epoch,
            intervals=IntervalCounts(
                total=view.total,
                done=view.done,
                in_flight=view.in_flight,
                failing=view.failing,
            ),
            items=BackFillItems(fetched=view.fetched, new=view.new, dead=view.dead),
            started_at=format_time(view.started_at),
            ended_at=show_time(view.ended_at),
            seconds_left=view.seconds_left,
            error=show_text(view.error) if view.error is not None else None,
            history=[_show_earlier(each) for each in view.history],
        )


def show_position(state: IndexerState) -> PositionAnswer:
    """Return where a window stands."""
    return PositionAnswer(
        epoch=state.epoch, cursor=show_value(state.cursor), in_flight=len(state.open)
    )


def _show_earlier(entry: dict[str, Any]) -> EarlierBackFill:
    return EarlierBackFill(**{name: show_value(value) for name, value in entry.items()})
