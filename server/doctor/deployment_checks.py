"""Whether the settings fit together, the service answers, and its disk is not full."""

from collections.abc import Iterator, Sequence

from server.doctor.facts import DiskFacts, ServiceFacts
from server.doctor.findings import Finding, describe_mib, fine, name_some, problem, warn
from shared.errors import SettingsError
from shared.item_limits import CurrentLimits, describe_limits, limits_of
from shared.setting_names import Misspelt
from shared.settings import Settings, is_loopback

SETTINGS = "settings"
SERVICE = "service"
_QUEUE_SETTINGS = ("bull_queue_name", "queue_prefix", "queue_partitions")
FULL_BYTES = 200 * 1024**2
FILLING_BYTES = 1024**3


def refuse_settings(error: SettingsError) -> list[Finding]:
    """Return what is wrong with settings that no process would start with."""
    advice = "correct it in the environment or in .env; .env.example documents every variable"
    return [problem(SETTINGS, "values", line, advice) for line in str(error).splitlines()]


def check_setting_names(misspelt: Sequence[Misspelt]) -> Iterator[Finding]:
    """Yield a finding for each variable that looks like a misspelt setting."""
    for each in misspelt:
        yield warn(
            SETTINGS,
            "names",
            f"{each.name} in {each.place} is not a setting and is not read",
            f"rename it to {each.nearest}, or remove it",
        )


def check_settings(settings: Settings, limits: CurrentLimits | None = None) -> Iterator[Finding]:
    """Yield the findings about valid settings; ``limits`` may hold instead of theirs."""
    yield fine(SETTINGS, "values", "every value is valid")
    yield _check_access(settings)
    yield _check_rate_limit(limits or CurrentLimits(limits_of(settings)))
    yield _check_locks(settings)
    if settings.metrics_port == settings.port:
        yield problem(
            SETTINGS,
            "METRICS_PORT",
            f"METRICS_PORT and PORT are both {settings.port}",
            "give the worker another METRICS_PORT: on one machine they cannot share one",
        )


def check_private_addresses(settings: Settings, service: ServiceFacts) -> Iterator[Finding]:
    """Yield a finding where feeds may point at private addresses.

    What the running service reports counts; the settings read here only where it reports nothing.
    """
    reported = service.settings.get("FETCH_ALLOW_PRIVATE")
    if reported is None:
        is_allowed, whose = settings.fetch_allow_private, "FETCH_ALLOW_PRIVATE=true here"
    else:
        is_allowed, whose = reported, "the service runs with FETCH_ALLOW_PRIVATE=true"
    if is_allowed:
        yield warn(
            SETTINGS,
            "FETCH_ALLOW_PRIVATE",
            f"{whose}: feeds may point at private addresses and any port",
            "unset it, unless everyone who may add feeds may also reach this network",
        )


def adopt_settings(settings: Settings, service: ServiceFacts) -> Settings:
    """Return the settings with the running service's own in place of those that it decides about.

    These are the names of its queues, and who may call it.
    """
    names = (*_QUEUE_SETTINGS, "host")
    reported = {name: service.settings.get(name.upper()) for name in names}
    update = {name: value for name, value in reported.items() if value is not None}
    if service.settings and service.settings.get("API_KEY") is None:
        update |= {"api_key": None, "api_read_keys": ()}
    return settings.model_copy(update=update)


def check_queue_settings(settings: Settings, service: ServiceFacts) -> Iterator[Finding]:
    """Yield a finding for each name of queues that differs here and in the running service."""
    for name in _QUEUE_SETTINGS:
        here, there = getattr(settings, name), service.settings.get(name.upper())
        if there is not None and there != here:
            yield warn(
                SETTINGS,
                name.upper(),
                f"{name.upper()}={here} here, but {there} in the running service, as checked",
                "set the same here: a server or worker that starts here would use other queues",
            )


def _check_access(settings: Settings) -> Finding:
    if settings.api_key is not None:
        read_keys = len(settings.api_read_keys)
        beside = f", or one of {read_keys} read-only keys (API_READ_KEYS)" if read_keys else ""
        return fine(SETTINGS, "API_KEY", f"API_KEY is set: every request needs it{beside}")
    if is_loopback(settings.host):
        return fine(SETTINGS, "API_KEY", f"only this machine reaches HOST={settings.host}")
    return warn(
        SETTINGS,
        "API_KEY",
        f"anyone who reaches HOST={settings.host} can do everything: API_KEY is not set",
        "set API_KEY, unless a proxy in front of it checks who is calling",
    )


def _check_rate_limit(current: CurrentLimits) -> Finding:
    limits = current.limits
    whose = " (changed while it ran: 'feedmill settings changes')" if current.is_changed else ""
    text = f"items started in each item queue: {describe_limits(limits)}{whose}"
    per_s = limits.max_items * 1000 / limits.duration_ms
    if 0 < per_s < 1:
        return warn(
            SETTINGS,
            "WORKER_RATE_LIMIT_MAX",
            f"{text}; a feed of 100 items takes {100 / per_s / 60:,.0f} minutes",
            "raise it with 'feedmill settings rate-limit', or raise WORKER_RATE_LIMIT_MAX",
        )
    return fine(SETTINGS, "WORKER_RATE_LIMIT_MAX", text)


def _check_locks(settings: Settings) -> Finding:
    lock_ms, flush_ms = settings.worker_lock_ms, settings.worker_flush_ms
    if settings.worker_stalled_ms > lock_ms:
        return warn(
            SETTINGS,
            "WORKER_STALLED_MS",
            f"stalled jobs are looked for every {settings.worker_stalled_ms} ms only, "
            f"though locks run out after {lock_ms} ms",
            "make WORKER_STALLED_MS shorter than WORKER_LOCK_MS",
        )
    if lock_ms < flush_ms:
        return warn(
            SETTINGS,
            "WORKER_LOCK_MS",
            f"WORKER_LOCK_MS={lock_ms} is shorter than WORKER_FLUSH_MS={flush_ms}: "
            "a worker that is delayed before a flush loses its locks",
            "make WORKER_LOCK_MS a multiple of WORKER_FLUSH_MS",
        )
    return fine(
        SETTINGS, "WORKER_LOCK_MS", f"locks ({lock_ms} ms) last longer than a flush ({flush_ms} ms)"
    )


def check_service(facts: ServiceFacts, own_version: str) -> Iterator[Finding]:
    """Yield the findings about the running service."""
    if not facts.is_alive:
        yield _describe_silence(facts)
        return
    if facts.is_ready:
        yield fine(SERVICE, "answers", f"it answers at {facts.url}, and so do its stores")
    else:
        yield problem(
            SERVICE,
            "answers",
            f"it answers at {facts.url}, but not all of its stores answer",
            "compare its REDIS_URL and MONGODB_URL with those checked here",
        )
    if facts.failing_threads:
        yield _describe_threads(facts)
    yield _check_version(facts, own_version)


def check_disk(facts: DiskFacts) -> Finding:
    """Return whether the embedded stores have room."""
    free = describe_mib(facts.free_bytes)
    text = f"{free} free of {describe_mib(facts.total_bytes)} for DATA_DIR={facts.folder}"
    advice = "free some space, or move DATA_DIR while the service is stopped"
    if facts.free_bytes < FULL_BYTES:
        return problem(SERVICE, "disk", text, advice)
    if facts.free_bytes < FILLING_BYTES:
        return warn(SERVICE, "disk", text, advice)
    return fine(SERVICE, "disk", text)


def _describe_silence(facts: ServiceFacts) -> Finding:
    text = f"no Feedmill answers at {facts.url}"
    if facts.is_named:
        return problem(
            SERVICE,
            "answers",
            f"{text}, though FEEDMILL_URL or feedmill.json names it",
            "start it, or correct FEEDMILL_URL",
        )
    return warn(SERVICE, "answers", text, "start 'feedmill up', or 'feedmill server' and a worker")


def _describe_threads(facts: ServiceFacts) -> Finding:
    return problem(
        SERVICE,
        "threads",
        f"its {name_some(facts.failing_threads)} keeps failing",
        "see 'thread_failed' in the server's log, with the stack trace; "
        "a thread that keeps failing ends the server with exit code 1",
    )


def _check_version(facts: ServiceFacts, own_version: str) -> Finding:
    if facts.version is None:
        return problem(
            SERVICE,
            "version",
            f"its version could not be read: {facts.error}",
            "set API_KEY to its key",
        )
    if facts.version != own_version:
        return warn(
            SERVICE,
            "version",
            f"it is Feedmill {facts.version}, this is {own_version}",
            "run one version everywhere: restart the service after an update",
        )
    return fine(SERVICE, "version", f"it is Feedmill {own_version}, the same as this command")
