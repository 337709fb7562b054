"""Names of settings: the groups they are shown in, and variables that look like misspelt ones."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

# As .env.example has them: each begins with the setting named here, in the order of ``Settings``.
GROUPS: Mapping[str, str] = {
    "redis_url": "Stores",
    "bull_queue_name": "Queues",
    "worker_concurrency": "Worker",
    "job_attempts": "Jobs",
    "fetch_interval_s": "Fetching",
    "api_key": "Server and command line",
}
# So that a letter too many, too few or wrong is near, and another word is not.
_NEAR = 0.88
# What other programs' variables begin with too: REDIS_HOSTS or HOSTNAME may be right as it is.
_COMMON = (
    "ALLOWED_",
    "API_",
    "DATA_",
    "HOST",
    "LOG_",
    "METRICS_",
    "MONGODB_",
    "PORT",
    "REDIS_",
    "ROOT_",
    "TRUSTED_",
)


@dataclass(frozen=True, slots=True)
class Misspelt:
    """A variable that nobody reads, where it is, and the setting whose name is nearest."""

    name: str
    nearest: str
    place: str


def group_settings(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each setting's group with its name, in the order of ``Settings``."""
    group = ""
    for name in names:
        group = GROUPS.get(name, group)
        yield group, name


def find_misspelt(
    environment: Iterable[str], env_file: Iterable[str], settings: Collection[str]
) -> list[Misspelt]:
    """Return the variables that are nearly named as a setting, by name; all in capitals.

    Of names that other programs use as well those of the environment count only where the
    setting is not set and nothing but separators or the order of letters differs.
    """
    in_environment, in_file = set(environment), set(env_file)
    known = in_environment | in_file
    found = [
        Misspelt(name, near[0], ".env" if name in in_file else "the environment")
        for name in sorted(known - set(settings))
        if (near := get_close_matches(name, settings, 1, _NEAR))
    ]
    return [
        each
        for each in found
        if not each.nearest.startswith(_COMMON)
        or (each.nearest not in known and (each.name in in_file or _has_same_letters(each)))
    ]


def _has_same_letters(misspelt: Misspelt) -> bool:
    return _letters(misspelt.name) == _letters(misspelt.nearest)


def _letters(name: str) -> list[str]:
    return sorted(name.replace("_", ""))
