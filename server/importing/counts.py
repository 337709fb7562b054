"""The counts of an import, as shown while it is open and after."""

from collections.abc import Mapping

from shared.store.imports import COUNT_NAMES, Import, ImportState, empty_counts

# What a worker's settlement may raise; in this order they give way if a redelivery was counted
# twice, so that the sum holds at every moment.
SETTLED_COUNTS = ("new", "updated", "unchanged", "superseded", "dead", "removed")


def live_counts(shown: Import, tally: Mapping[str, int]) -> dict[str, int]:
    """Return an import's counts; of an open one, what the tally of settled jobs adds.

    ``tally`` serves progress only: it may lag behind or have counted a job twice. ``pending`` is
    what is left, never below zero, so ``fetched`` is always the sum of the others.
    """
    counts = {**empty_counts(), **shown.counts}
    if shown.state is not ImportState.IMPORTING:
        return counts
    left = shown.journaled
    for name in SETTLED_COUNTS:
        settled = min(left, max(0, tally.get(name, 0)))
        counts[name] += settled
        left -= settled
    counts["pending"] = left
    return {name: counts[name] for name in COUNT_NAMES}


def count_settled(tally: Mapping[str, int]) -> int:
    """Return how many of an import's jobs were settled, as far as the tally knows."""
    return sum(tally.get(name, 0) for name in SETTLED_COUNTS)
