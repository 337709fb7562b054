"""The command: measures this checkout, and another one beside it, and shows the figures."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.context import FULL, SMALL, Context, Sizes
from benchmarks.parts import ONCE, PARTS, SMOKE_PARTS
from benchmarks.plot import draw_growth
from benchmarks.processes import BenchmarkError
from benchmarks.report import BEFORE, NOW, PICTURE, failed_ratios, lines_of, put_table, table_of
from benchmarks.results import Results, collect, read_results, write_results
from benchmarks.rows import Missing, Sample
from benchmarks.stores import StoreKind, available_stores, find_rust_store
from benchmarks.trees import ROOT, Tree, open_tree

NO_RUST_STORE = Missing(
    "the Rust store", "no secantusd-rs on the path, and SECANTUS_MDB names none"
)
RESULTS = Path(__file__).resolve().parent / "results"
REPEATS = 3


def main() -> int:
    """Do what the command line asks for. Exit code 1: a ratio of the short run is missed."""
    options = _parser().parse_args()
    if options.docs is not None:
        _write_docs(read_results(options.docs))
        return 0
    if options.table is not None:
        print("\n".join(table_of(read_results(options.table))))
        return 0
    try:
        return _measure(options)
    except BenchmarkError as exc:
        print(exc, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], choices=PARTS, help="measure these parts")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to measure")
    parser.add_argument("--before", type=Path, help="another checkout, measured beside it")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs; the median counts")
    parser.add_argument("--small", action="store_true", help="measure with less of everything")
    parser.add_argument("--no-peers", action="store_true", help="leave other programs out")
    parser.add_argument("--smoke", action="store_true", help="one short run that checks ratios")
    parser.add_argument("--output", type=Path, help="where the JSON goes; default: results/")
    parser.add_argument("--table", type=Path, help="print the table of this JSON; measure nothing")
    parser.add_argument("--docs", type=Path, help="put this JSON's table and curves into docs/")
    return parser


def _write_docs(results: Results) -> None:
    """Exchange the table in docs/performance.md, and the picture of growth beside it."""
    page = ROOT / "docs" / "performance.md"
    page.write_text(put_table(page.read_text(), results))
    page.with_name(PICTURE).write_text(draw_growth(results))


def _measure(options: argparse.Namespace) -> int:
    trees = [open_tree(NOW, options.tree)]
    if options.before is not None:
        trees.insert(0, open_tree(BEFORE, options.before))
    commits = {tree.name: tree.commit() for tree in trees}
    sizes = SMALL if options.small or options.smoke else FULL
    results = collect(_samples(options, trees, sizes), commits, sizes is FULL)
    if sizes is not FULL:
        print("Measured with less of everything than the titles say: compare nothing but ratios.")
    print("\n".join(lines_of(results)))
    if options.smoke:
        failed = failed_ratios(results)
        print(
            "\n".join(failed) or "all ratios as wanted", file=sys.stderr if failed else sys.stdout
        )
        return 1 if failed else 0
    stamp = results.measured_at.replace(":", "").replace("+0000", "Z")
    path = options.output or RESULTS / f"{stamp}.json"
    write_results(results, path)
    print(f"written to {path}")
    return 0


def _samples(
    options: argparse.Namespace, trees: Sequence[Tree], sizes: Sizes
) -> Iterator[Sample | Missing]:
    """Yield what all parts measure, repeat by repeat: what else the machine does meets all."""
    with_peers = not (options.no_peers or options.smoke)
    stores = [StoreKind.EMBEDDED] if options.smoke else available_stores()
    names = options.only or (SMOKE_PARTS if options.smoke else list(PARTS))
    if not options.smoke and find_rust_store() is None:
        yield NO_RUST_STORE
    once = ONCE | {"imports"} if options.smoke else ONCE
    for repeat in range(options.repeats):
        for name in (name for name in names if not repeat or name not in once):
            with tempfile.TemporaryDirectory(prefix="feedmill-bench-") as folder:
                context = Context(trees, sizes, Path(folder), stores, with_peers)
                for sample in PARTS[name](context):
                    print(f"[{repeat + 1}] {sample}", file=sys.stderr, flush=True)
                    yield sample


if __name__ == "__main__":
    sys.exit(main())
