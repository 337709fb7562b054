"""Everything that can be set from outside: environment variables and ``.env``.

Only composition roots (``server/__main__.py``, ``worker/__main__.py``, the command line) read
settings; everything else is handed values. ``.env.example`` documents each variable.
"""

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)

from shared.errors import SettingsError
from shared.setting_names import Misspelt, find_misspelt
from shared.setting_values import (
    ANY_HOST,
    check_allowed_host,
    check_api_key,
    check_host,
    check_module,
    check_mongodb_url,
    check_proxy,
    check_queue_name,
    check_queue_prefix,
    check_rate_limit,
    check_redis_url,
    check_root_path,
    check_service_url,
    describe_error,
)

FETCH_QUEUE = "feed_fetch_queue"
DAY_MS = 86_400_000
# Where a child's values come from, as its parent knows it: field=origin, with commas between.
ORIGINS_VARIABLE = "FEEDMILL_ORIGINS"
ENV_FILE = Path(".env")

Port = Annotated[int, Field(ge=1, le=65_535)]
MAX_COUNT = 10_000_000
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Days = Annotated[int, Field(ge=0, le=36_500)]
Threads = Annotated[int, Field(ge=1, le=1000)]
Host = Annotated[str, AfterValidator(check_host)]
Split = BeforeValidator(
    lambda value: value.replace(",", " ").split() if isinstance(value, str) else value
)
# NoDecode: it is written with commas, not as JSON.
Hosts = Annotated[tuple[Annotated[str, AfterValidator(check_allowed_host)], ...], NoDecode, Split]
Proxies = Annotated[tuple[Annotated[str, AfterValidator(check_proxy)], ...], NoDecode, Split]
Modules = Annotated[tuple[Annotated[str, AfterValidator(check_module)], ...], NoDecode, Split]
Keys = Annotated[tuple[Annotated[str, AfterValidator(check_api_key)], ...], NoDecode, Split]
Lowered = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
Uppered = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)


class Origin(StrEnum):
    """Where a setting's value comes from."""

    ENVIRONMENT = "environment"
    ENV_FILE = ".env"
    DEFAULT = "default"
    EMBEDDED = "embedded"
    """A store that ``feedmill up`` started."""


class Settings(BaseSettings):
    """The settings of one process, checked. Fields are the variables' names in lower case.

    ``redis_url`` and ``mongodb_url`` are None where no setting names that store: then
    ``feedmill up`` starts an embedded one, and the single roles refuse to start.
    An empty variable counts as not set; the environment wins over ``.env``.
    """

    model_config = SettingsConfigDict(
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        str_strip_whitespace=True,
    )

    redis_url: Annotated[str, AfterValidator(check_redis_url)] | None = Field(None, repr=False)
    redis_host: Host | None = None
    redis_port: Port = 6379
    redis_password: str | None = Field(None, repr=False)
    mongodb_url: Annotated[str, AfterValidator(check_mongodb_url)] | None = Field(None, repr=False)
    embedded_mongodb_port: int = Field(27_018, ge=0, le=65_535)

    bull_queue_name: Annotated[str, AfterValidator(check_queue_name)] = "job_import_queue"
    queue_prefix: Annotated[str, AfterValidator(check_queue_prefix)] = "bull"
    queue_partitions: int = Field(1, ge=1, le=64)

    worker_concurrency: Threads = 10
    worker_batch_size: int = Field(100, ge=1, le=10_000)
    worker_flush_ms: int = Field(3000, ge=0, le=600_000)
    worker_rate_limit_max: Count = 100
    worker_rate_limit_duration_ms: int = Field(1000, ge=1, le=DAY_MS)
    worker_source_rate_limit_max: Count = 0
    worker_type: Annotated[Literal["light", "heavy", "all"], Lowered] = "all"
    worker_lock_ms: int = Field(30_000, ge=1000, le=DAY_MS)
    worker_stalled_ms: int = Field(1000, ge=100, le=DAY_MS)
    worker_max_stalled: int = Field(2, ge=0, le=1_000_000)
    feedmill_app: Modules = ()
    app_stop_s: float = Field(5, ge=0, le=86_400)

    job_attempts: int = Field(3, ge=1, le=1000)
    job_backoff_ms: int = Field(1000, ge=0, le=DAY_MS)
    job_max_bytes: int = Field(1_048_576, ge=1024, le=8_388_608)
    keep_completed: Count = 100
    keep_failed: Count = 500
    keep_imports_days: Days = 90
    keep_dead_days: Days = 0
    keep_bodies: int = Field(3, ge=0, le=100)
    keep_body_max_bytes: int = Field(1_048_576, ge=1024, le=12_582_912)
    heavy_items: Count = 5000

    fetch_interval_s: int = Field(3600, ge=1, le=31_536_000)
    fetch_concurrency: Threads = 16
    fetch_per_host: Threads = 2
    fetch_timeout_s: float = Field(30, ge=0.1, le=280)
    fetch_pages: int = Field(10, ge=1, le=1000)
    fetch_max_bytes: int = Field(33_554_432, ge=1024, le=1_073_741_824)
    fetch_allow_private: bool = False
    feed_salvage: Annotated[Literal["feedparser", "strict", "off"], Lowered] = "feedparser"

    api_key: Annotated[str, AfterValidator(check_api_key)] | None = Field(None, repr=False)
    api_read_keys: Keys = Field((), repr=False)
    allow_unauthenticated: bool = False
    api_rate_limit: Annotated[str, AfterValidator(check_rate_limit)] = "60/minute"
    backfill_in_flight: int = Field(3, ge=1, le=32)
    backfill_rate_limit: Annotated[str, AfterValidator(check_rate_limit)] = "120/minute"
    allowed_hosts: Hosts = ()
    root_path: Annotated[str, AfterValidator(check_root_path)] = ""
    trusted_proxies: Proxies = ()
    host: Host = "127.0.0.1"
    port: Port = 8000
    metrics_port: int = Field(0, ge=0, le=65_535)
    data_dir: Path = Path("data")
    feedmill_url: Annotated[str, AfterValidator(check_service_url)] | None = None
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], Uppered] = "INFO"
    log_format: Annotated[Literal["console", "json"], Lowered] = "console"

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    @property
    def light_queue(self) -> str:
        """Name of the item queue that imports use unless they are big or marked heavy."""
        return self.bull_queue_name

    @property
    def heavy_queue(self) -> str:
        """Name of the item queue for big imports."""
        return f"{self.bull_queue_name}_heavy"

    @property
    def dead_letter_queue(self) -> str:
        """Name of the queue that holds the dead letters of both item queues."""
        return f"{self.bull_queue_name}_dlq"

    @property
    def fetch_queue(self) -> str:
        """Name of the queue of feeds to fetch."""
        return FETCH_QUEUE

    @property
    def service_url(self) -> str:
        """Where this machine reaches the server: its own address, loopback when it binds to all."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def works_app_alone(self) -> bool:
        """Whether a worker works an app's queues and no items: no MongoDB is named."""
        return bool(self.feedmill_app) and self.mongodb_url is None

    def origin_of(self, field: str) -> Origin:
        """Return where a field's value comes from; REDIS_HOST counts for ``redis_url``."""
        given = Origin.ENVIRONMENT if field in self.model_fields_set else Origin.DEFAULT
        return self._origins.get(field, given)

    def named_redis(self) -> str:
        """Return the URL of Redis, for a role that starts none itself.

        Raises:
            SettingsError: it is not named; it says which variable to set.
        """
        if self.redis_url is None:
            raise SettingsError("REDIS_URL is not set: name a Redis, or run 'feedmill up'")
        return self.redis_url

    def named_stores(self) -> tuple[str, str]:
        """Return the URLs of Redis and MongoDB, for a role that starts none itself.

        Raises:
            SettingsError: one of them is not named; it says which variable to set.
        """
        redis_url = self.named_redis()
        if self.mongodb_url is None:
            raise SettingsError(
                "MONGODB_URL is not set: name a MongoDB, or run 'feedmill up'; a worker of queues "
                "of your own needs none, but --app or FEEDMILL_APP"
            )
        return redis_url, self.mongodb_url

    @model_validator(mode="before")
    @classmethod
    def _drop_blank_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in values.items()
            if not (isinstance(value, str) and value.strip() == "")
        }

    @field_validator("data_dir")
    @classmethod
    def _expand_home(cls, data_dir: Path) -> Path:
        return data_dir.expanduser()

    @model_validator(mode="after")
    def _resolve_redis_url(self) -> Self:
        if self.redis_url is None and self.redis_host is not None:
            login = f":{quote(self.redis_password, safe='')}@" if self.redis_password else ""
            host = f"[{self.redis_host}]" if ":" in self.redis_host else self.redis_host
            self.redis_url = f"redis://{login}{host}:{self.redis_port}/0"
        return self

    @model_validator(mode="after")
    def _refuse_an_open_door(self) -> Self:
        if self.api_key is None and not self.allow_unauthenticated and not is_loopback(self.host):
            raise ValueError(
                f"HOST={self.host} with API_KEY not set: set API_KEY, a loopback HOST (127.0.0.1), "
                "or ALLOW_UNAUTHENTICATED=true"
            )
        return self

    @model_validator(mode="after")
    def _refuse_read_keys_that_guard_nothing(self) -> Self:
        if self.api_read_keys and self.api_key is None:
            raise ValueError(
                "API_READ_KEYS with API_KEY not set: set API_KEY, or everybody may do everything"
            )
        if self.api_key in self.api_read_keys:
            raise ValueError("API_READ_KEYS and API_KEY hold the same key: use different keys")
        return self

    @model_validator(mode="after")
    def _refuse_any_host_without_key(self) -> Self:
        if ANY_HOST in self.allowed_hosts and self.api_key is None:
            raise ValueError(
                "ALLOWED_HOSTS=* with API_KEY not set: set API_KEY, or name the hosts; "
                "a page of any site could read and change everything"
            )
        return self

    @model_validator(mode="after")
    def _refuse_colliding_queues(self) -> Self:
        if self.bull_queue_name == FETCH_QUEUE:
            raise ValueError(
                f"BULL_QUEUE_NAME={FETCH_QUEUE}: must be another name, "
                "this one is the queue of feeds to fetch"
            )
        return self


def load_settings(env_file: Path | None = ENV_FILE) -> Settings:
    """Read the settings from the environment and, where it is silent, from ``env_file``.

    Raises:
        SettingsError: the text has one line for each wrong value: the variable, the value (secrets
            masked) and what is accepted.
    """
    try:
        # A constructor argument of BaseSettings that type checkers cannot see.
        settings = Settings(_env_file=env_file)  # type: ignore[call-arg]
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        lines = [describe_error(error, Settings.model_fields) for error in errors]
        raise SettingsError("\n".join(lines)) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{env_file} cannot be read: {exc}") from exc
    settings._origins.update(_find_origins(settings.model_fields_set, env_file))
    return settings


def find_misspelt_settings(env_file: Path | None = ENV_FILE) -> list[Misspelt]:
    """Return the variables of the environment and of ``env_file`` that look like misspelt ones.

    To be called after :func:`load_settings`, which reports a file that cannot be read.
    """
    settings = {field.upper() for field in Settings.model_fields}
    return find_misspelt(map(str.upper, os.environ), _names_in_file(env_file), settings)


def _find_origins(given: Iterable[str], env_file: Path | None) -> Iterator[tuple[str, Origin]]:
    in_file = _names_in_file(env_file)
    in_environment = {name.upper() for name, value in os.environ.items() if value.strip()}
    for field in given:
        name = field.upper()
        if name == "REDIS_URL" and name not in in_environment | in_file:
            name = "REDIS_HOST"
        yield field, Origin.ENVIRONMENT if name in in_environment else Origin.ENV_FILE
    yield from _origins_from_parent()


def _origins_from_parent() -> Iterator[tuple[str, Origin]]:
    for pair in filter(None, os.environ.get(ORIGINS_VARIABLE, "").split(",")):
        field, _, origin = pair.partition("=")
        if field in Settings.model_fields and origin in set(Origin):
            yield field, Origin(origin)


def _names_in_file(env_file: Path | None) -> set[str]:
    read = DotEnvSettingsSource(Settings, env_file=env_file, env_ignore_empty=True).env_vars
    return {name.upper() for name in read}


def is_loopback(host: str) -> bool:
    """Return whether a server bound to ``host`` can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
