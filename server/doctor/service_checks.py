"""Whether the service answers, and whether its machine has room."""

from collections.abc import Iterator

from server.doctor.facts import DiskFacts, ServiceFacts
from server.doctor.findings import Finding, blame, describe_mib, fine, name_some, warn

GROUP = "service"
FULL_BYTES = 200 * 1024**2
FILLING_BYTES = 1024**3


def check_service(seen: ServiceFacts, own_version: str) -> Iterator[Finding]:
    """Yield what is to be said of the running service."""
    if not seen.is_alive:
        yield _describe_silence(seen)
        return
    if seen.is_ready:
        yield fine(GROUP, "answers", f"it answers at {seen.url}, and so do its stores for it")
    else:
        yield blame(
            GROUP,
            "answers",
            f"it answers at {seen.url}, but not all of its stores answer it",
            "compare its REDIS_URL and MONGODB_URL with those checked here",
        )
    if seen.failing_threads:
        yield _blame_threads(seen)
    yield _check_version(seen, own_version)


def check_disk(seen: DiskFacts) -> Finding:
    """Return whether the embedded stores have room."""
    free = describe_mib(seen.free_bytes)
    text = f"{free} free of {describe_mib(seen.total_bytes)} for DATA_DIR={seen.folder}"
    advice = "make room, or move DATA_DIR while the service is stopped"
    if seen.free_bytes < FULL_BYTES:
        return blame(GROUP, "disk", text, advice)
    if seen.free_bytes < FILLING_BYTES:
        return warn(GROUP, "disk", text, advice)
    return fine(GROUP, "disk", text)


def _describe_silence(seen: ServiceFacts) -> Finding:
    text = f"no Feedmill answers at {seen.url}"
    if seen.is_named:
        return blame(
            GROUP,
            "answers",
            f"{text}, though one is said to run there",
            "start it, or correct FEEDMILL_URL",
        )
    return warn(GROUP, "answers", text, "start 'feedmill up', or 'feedmill server' and a worker")


def _blame_threads(seen: ServiceFacts) -> Finding:
    return blame(
        GROUP,
        "threads",
        f"its {name_some(seen.failing_threads)} fails again and again",
        "look for 'thread_failed' in the server's log, it has the stack; "
        "a thread that goes on failing ends the server with exit code 1",
    )


def _check_version(seen: ServiceFacts, own_version: str) -> Finding:
    if seen.version is None:
        return blame(
            GROUP,
            "version",
            f"it does not tell its version: {seen.error}",
            "set API_KEY to its key",
        )
    if seen.version != own_version:
        return warn(
            GROUP,
            "version",
            f"it is Feedmill {seen.version}, this is {own_version}",
            "run one version everywhere: restart the service after an update",
        )
    return fine(GROUP, "version", f"it is Feedmill {own_version}, as this is")
