"""What every part of the benchmarks is given: checkouts, sizes, a folder to work in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Missing, Sample
from benchmarks.stores import StoreKind
from benchmarks.trees import Tree


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured with. The rows' titles and goals stand for the sizes of FULL."""

    jobs: int = 10_000
    active: tuple[int, int, int] = (0, 10_000, 50_000)
    items: int = 10_000
    not_modified: int = 50
    idle_s: float = 60.0
    listed: int = 100_000
    waiting: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000)
    sources: Sequence[int] = (1, 10, 100, 1_000, 10_000)
    workers: Sequence[int] = (1, 2, 3, 4)
    feeds: Sequence[int] = (0, 1_000, 10_000, 100_000)
    growth_idle_s: float = 30.0


FULL = Sizes()
SMALL = Sizes(
    jobs=2_000,
    active=(0, 2_000, 10_000),
    items=1_000,
    not_modified=10,
    idle_s=5.0,
    listed=5_000,
    waiting=(1_000, 10_000),
    sources=(1, 100),
    workers=(1, 2),
    feeds=(0, 1_000),
    growth_idle_s=5.0,
)


@dataclass(frozen=True, slots=True)
class Context:
    """One run: what is measured, with how much, on which stores, and where files may be put.

    ``stores``: the Rust one first, where there is one.
    """

    trees: Sequence[Tree]
    sizes: Sizes
    folder: Path
    stores: Sequence[StoreKind]
    with_peers: bool

    @property
    def cheapest_store(self) -> StoreKind:
        """The store for what is not about stores."""
        return self.stores[0]


# A part yields what it measured, each figure once; the caller repeats it.
Part = Callable[[Context], Iterator[Sample | Missing]]
