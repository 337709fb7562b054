"""Settings that are valid one by one, and do not fit together or are dangerous."""

from collections.abc import Iterator

from server.doctor.findings import Finding, blame, fine, warn
from shared.errors import SettingsError
from shared.settings import Settings, is_loopback

GROUP = "settings"


def refuse_settings(error: SettingsError) -> list[Finding]:
    """Return what is wrong with settings that no process would start with."""
    advice = "correct it in the environment or in .env; .env.example documents every variable"
    return [blame(GROUP, "values", line, advice) for line in str(error).splitlines()]


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Yield what is to be said of settings that are valid."""
    yield fine(GROUP, "values", "every value is valid")
    yield _check_access(settings)
    yield _check_rate_limit(settings)
    yield _check_locks(settings)
    if settings.fetch_allow_private:
        yield warn(
            GROUP,
            "FETCH_ALLOW_PRIVATE",
            "FETCH_ALLOW_PRIVATE=true: feeds may point at private addresses and any port",
            "unset it unless everybody who may add feeds may reach this network",
        )
    if settings.metrics_port == settings.port:
        yield blame(
            GROUP,
            "METRICS_PORT",
            f"METRICS_PORT and PORT are both {settings.port}",
            "give the worker another METRICS_PORT: on one machine they cannot share one",
        )


def _check_access(settings: Settings) -> Finding:
    if settings.api_key is not None:
        return fine(GROUP, "API_KEY", "API_KEY is set: every request needs it")
    if is_loopback(settings.host):
        return fine(GROUP, "API_KEY", f"only this machine reaches HOST={settings.host}")
    return warn(
        GROUP,
        "API_KEY",
        f"whoever reaches HOST={settings.host} may do everything: API_KEY is not set",
        "set API_KEY, unless something else in front of it asks who is calling",
    )


def _check_rate_limit(settings: Settings) -> Finding:
    max_jobs, duration_ms = settings.worker_rate_limit_max, settings.worker_rate_limit_duration_ms
    if max_jobs == 0:
        return fine(GROUP, "WORKER_RATE_LIMIT_MAX", "0: items are started without a limit")
    per_s = max_jobs * 1000 / duration_ms
    text = f"at most {max_jobs} items in {duration_ms} ms are started in each item queue"
    if per_s < 1:
        return warn(
            GROUP,
            "WORKER_RATE_LIMIT_MAX",
            f"{text}: a feed of 100 items takes {100 / per_s / 60:,.0f} minutes",
            "raise WORKER_RATE_LIMIT_MAX, or shorten WORKER_RATE_LIMIT_DURATION_MS",
        )
    return fine(GROUP, "WORKER_RATE_LIMIT_MAX", text)


def _check_locks(settings: Settings) -> Finding:
    lock_ms, flush_ms = settings.worker_lock_ms, settings.worker_flush_ms
    if settings.worker_stalled_ms > lock_ms:
        return warn(
            GROUP,
            "WORKER_STALLED_MS",
            f"stalled jobs are looked for every {settings.worker_stalled_ms} ms only, "
            f"though locks run out after {lock_ms} ms",
            "make WORKER_STALLED_MS shorter than WORKER_LOCK_MS",
        )
    if lock_ms < flush_ms:
        return warn(
            GROUP,
            "WORKER_LOCK_MS",
            f"WORKER_LOCK_MS={lock_ms} is shorter than WORKER_FLUSH_MS={flush_ms}: "
            "a worker that is held up while it waits for its batch loses what it holds",
            "make WORKER_LOCK_MS a multiple of WORKER_FLUSH_MS",
        )
    return fine(GROUP, "WORKER_LOCK_MS", f"locks of {lock_ms} ms outlast a flush of {flush_ms} ms")
