"""Settings as the API shows them: each value with its unit, its default and where it comes from."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from pydantic import BaseModel, Field

from server.api.values import Time, show_text
from shared.item_limits import CurrentLimits, current_limits
from shared.models import format_time
from shared.setting_names import group_settings
from shared.setting_values import describe_accepted, is_secret, show_setting, unit_of
from shared.settings import DAY_MS, MAX_COUNT, Settings
from shared.store import ItemLimits, LimitChange, StoredLimits

CHANGED_HERE = "changed here"
# By field, what of the limits it sets.
_LIMITS = {
    "worker_rate_limit_max": "max_items",
    "worker_rate_limit_duration_ms": "duration_ms",
    "worker_source_rate_limit_max": "source_max_items",
}
_EMBEDDED_DEFAULT = "embedded"


class LimitValues(BaseModel):
    """How many items start in each window, in each item queue, over all workers; 0 is no limit."""

    max: int = Field(ge=0, le=MAX_COUNT, description="items per window (WORKER_RATE_LIMIT_MAX)")
    duration_ms: int = Field(
        ge=1, le=DAY_MS, description="length of the window (WORKER_RATE_LIMIT_DURATION_MS)"
    )
    source_max: int = Field(
        ge=0,
        le=MAX_COUNT,
        description="items of one source per window (WORKER_SOURCE_RATE_LIMIT_MAX)",
    )

    @classmethod
    def of(cls, limits: ItemLimits) -> "LimitValues":
        """Return limits as the API shows them."""
        return cls(
            max=limits.max_items,
            duration_ms=limits.duration_ms,
            source_max=limits.source_max_items,
        )


class RateLimitSetting(LimitValues):
    """The limits that hold now."""

    origin: str = Field(
        description="`environment`, `.env`, `default`, or `changed here` while a change holds"
    )
    environment: LimitValues = Field(description="what a reset brings back")


class LimitChangeAnswer(BaseModel):
    """A change of the rate limit."""

    at: Time
    by: str = Field(description="`API key`, `dashboard session`, or `no API key` where none is set")
    client: str = Field(description="IP address")
    before: LimitValues
    after: LimitValues
    is_reset: bool = Field(description="back to the values of the environment")


class SettingAnswer(BaseModel):
    """A setting of the server."""

    name: str
    value: str | int | float | bool | None = Field(
        description="null when not set; a secret that is set is shown as `set`"
    )
    unit: str | None
    default: str | int | float | bool | None
    accepted: str
    origin: str = Field(
        description="`environment`, `.env`, `default`; `embedded` for a store that "
        "`feedmill up` started; `changed here` while a change holds"
    )
    is_secret: bool


class SettingGroup(BaseModel):
    """Settings that belong together, in the order of .env.example."""

    name: str
    settings: list[SettingAnswer]


class SettingsAnswer(BaseModel):
    """The settings of the server that answers; workers have an environment of their own."""

    groups: list[SettingGroup]
    rate_limit: RateLimitSetting


def show_settings(
    settings: Settings, stored: StoredLimits, environment: ItemLimits
) -> SettingsAnswer:
    """Return all settings of a server, with what was changed since it started."""
    current = current_limits(stored, environment)
    named = group_settings(Settings.model_fields)
    groups = [
        SettingGroup(name=group, settings=[_show(settings, field, current) for _, field in fields])
        for group, fields in groupby(named, key=lambda each: each[0])
    ]
    return SettingsAnswer(groups=groups, rate_limit=show_rate_limit(settings, stored, environment))


def show_rate_limit(
    settings: Settings, stored: StoredLimits, environment: ItemLimits
) -> RateLimitSetting:
    """Return the limits that hold now, and those of the environment."""
    current = current_limits(stored, environment)
    origin = settings.origin_of("worker_rate_limit_max")
    return RateLimitSetting(
        **LimitValues.of(current.limits).model_dump(),
        origin=CHANGED_HERE if current.is_changed else origin,
        environment=LimitValues.of(environment),
    )


def show_changes(stored: StoredLimits) -> Iterator[LimitChangeAnswer]:
    """Yield the changes, newest first."""
    for change in stored.changes:
        yield _show_change(change)


def _show_change(change: LimitChange) -> LimitChangeAnswer:
    return LimitChangeAnswer(
        at=format_time(change.at),
        by=show_text(change.by),
        client=show_text(change.client),
        before=LimitValues.of(change.before),
        after=LimitValues.of(change.after),
        is_reset=change.is_reset,
    )


def _show(settings: Settings, field: str, current: CurrentLimits) -> SettingAnswer:
    info, name = Settings.model_fields[field], field.upper()
    value: Any = getattr(settings, field)
    origin: str = settings.origin_of(field)
    if current.is_changed and field in _LIMITS:
        value, origin = getattr(current.limits, _LIMITS[field]), CHANGED_HERE
    is_store = field in ("redis_url", "mongodb_url")
    return SettingAnswer(
        name=name,
        value=show_setting(name, value),
        unit=unit_of(field),
        default=_EMBEDDED_DEFAULT if is_store else show_setting(name, info.get_default()),
        accepted=describe_accepted(field, info),
        origin=origin,
        is_secret=is_secret(name),
    )
