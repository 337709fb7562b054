"""Changes modules in one place at a time and sees whether a test notices: docs/testing.md.

    PYTHONPATH=<where cosmic-ray is> python -m tests.mutations DIRECTORY MODULE… --tests TEST…

cosmic-ray makes the mutants. Each runs in a fork, in memory only, on those of the tests alone that
run the mutant's statement, the quickest first; the first one that fails ends it. A mutant of what a
function does is put into the function of a session of pytest that has collected all tests; one of
what an import does (constants, defaults, decorators) gets a session of its own.

DIRECTORY keeps which test runs which line (``lines.json``; delete it when tests change) and the
results (``results.jsonl``): what is in it is not run again.
"""

import argparse
import gc
import importlib
import importlib.machinery
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import coverage
import pytest

from tests.mutants import (
    Mutant,
    change_of,
    find_mutants,
    is_valid,
    mutated,
    runs_at_import,
    span_of,
    text_of,
)

# What forks would import each anew; nothing of ours.
_PRELOADED = ("fastapi", "hypothesis", "orjson", "pymongo", "redis", "structlog")
_TEST_LIMIT_S = 30
_QUICK_S = 0.03
_OPTIONS = (
    *("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:schemathesis"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning", f"--timeout={_TEST_LIMIT_S}"),
)
_OUTCOMES = ("killed", "timeout", "survived", "untested", "invalid")


@dataclass(frozen=True, slots=True)
class Tested:
    """How long a test takes, and which lines of which module it runs."""

    seconds: float
    lines: dict[str, list[int]]


class Watcher:
    """Notes how long tests take and which failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)


class Run:
    """What one call of the program does: its mutants, its tests, and where its results go."""

    def __init__(self, directory: Path, modules: list[str], tests: list[str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._output, self._lines = directory / "output.log", directory / "lines.json"
        self._results = directory / "results.jsonl"
        self.modules, self.tests = modules, tests

    def known(self) -> dict[str, dict[str, Any]]:
        """Return the results so far by the mutants' keys."""
        if not self._results.exists():
            return {}
        results = map(json.loads, self._results.read_text().splitlines())
        return {Mutant(**result["mutant"]).key: result for result in results}

    def note(self, mutant: Mutant, result: dict[str, Any]) -> None:
        """Append a result."""
        with self._results.open("a") as file:
            file.write(
                json.dumps({"mutant": asdict(mutant), "change": change_of(mutant), **result})
            )
            file.write("\n")

    def in_fork(self, work: Callable[[], Any], limit_s: float) -> Any:
        """Return what ``work`` returns in a process of its own; None when it takes too long.

        A process that is ended by a signal has noticed something too.
        """
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            os.close(reader)
            self._finish_child(work, writer)
        os.close(writer)
        answer = _read_until(reader, time.monotonic() + limit_s)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if answer:
            return json.loads(answer)
        if answer is None:
            return None
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
            return {"outcome": "killed", "by": signal.Signals(os.WTERMSIG(status)).name}
        sys.exit(f"a run ended without a result: {self._output}")

    def _finish_child(self, work: Callable[[], Any], writer: int) -> None:
        descriptor = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            # Whatever was raised goes to the output, and never into the code that forked.
            if sys.exc_info()[1] is not None:
                traceback.print_exc()
            os._exit(0)

    def tested(self, session: pytest.Session) -> dict[str, Tested]:
        """Return which test runs which line: as noted, else by a run of all tests unchanged."""
        if not self._lines.exists():
            traced = self.in_fork(lambda: trace(session, self.modules), 3600)
            self._lines.write_text(json.dumps(traced))
        return self.read_tested()

    def read_tested(self) -> dict[str, Tested]:
        """Return which test runs which line, as noted."""
        tested = json.loads(self._lines.read_text())
        return {name: Tested(**test) for name, test in tested.items()}


def _read_until(reader: int, end_s: float) -> bytes | None:
    """Read to the end; None when that has not come at ``end_s``."""
    answer = b""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(end_s - time.monotonic(), 0))[0]:
            chunk = pipe.read(1 << 20)
            if not chunk:
                return answer
            answer += chunk
    return None


class Session:
    """A session of pytest that has collected its tests, and then runs mutants in forks."""

    def __init__(self, run: Run, mutants: list[Mutant]) -> None:
        self._run, self._mutants = run, mutants
        self._functions: dict[tuple[str, str, int], list[FunctionType]] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the mutants in place of the tests."""
        tested = self._run.tested(session)
        for function in gc.get_objects():
            if isinstance(function, FunctionType):
                self._functions.setdefault(_place(function.__code__), []).append(function)
        gc.freeze()
        for mutant in self._mutants:
            run_one(self._run, mutant, tested, partial(self._try, session, mutant))
        return True

    def _try(self, session: pytest.Session, mutant: Mutant, names: list[str]) -> dict[str, Any]:
        path = str(Path(mutant.module).resolve())
        pairs = zip(
            functions_in(compile(text_of(mutant.module), path, "exec")),
            functions_in(compile(mutated(mutant), path, "exec")),
            strict=True,
        )
        for old, new in pairs:
            if old != new:
                for function in self._functions[_place(old)]:
                    function.__code__ = new
        return run_items(session, names)


def _place(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def functions_in(module: CodeType) -> list[CodeType]:
    """Return the code of a module's functions and of its classes' methods, not of what is inside
    these."""
    found: list[CodeType] = []
    for constant in module.co_consts:
        if isinstance(constant, CodeType):
            is_class = "__qualname__" in constant.co_names and not constant.co_flags & 0x2
            found += functions_in(constant) if is_class else [constant]
    return found


def run_items(session: pytest.Session, names: Sequence[str]) -> dict[str, Any]:
    """Run some of the collected tests until one fails."""
    items = {item.nodeid: item for item in session.items}
    watcher = Watcher()
    session.config.pluginmanager.register(watcher)
    chosen = [items[name] for name in names]
    for item, following in zip(chosen, [*chosen[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if watcher.failed:
            return {"outcome": "killed", "by": watcher.failed[0]}
    return {"outcome": "survived", "tests": len(chosen)}


def trace(session: pytest.Session, modules: list[str]) -> dict[str, Any]:
    """Run all tests unchanged; return of each that passes what :class:`Tested` holds."""
    paths = {module: str(Path(module).resolve()) for module in modules}
    tracer = coverage.Coverage(
        data_file=None, include=list(paths.values()), branch=False, config_file=False
    )
    watcher = Watcher()
    session.config.pluginmanager.register(watcher)
    tracer.start()
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        tracer.switch_context(item.nodeid)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    tracer.stop()
    tested: dict[str, Any] = {
        name: {"seconds": seconds, "lines": {}} for name, seconds in watcher.seconds.items()
    }
    for module, path in paths.items():
        for line, names in tracer.get_data().contexts_by_lineno(path).items():
            for name in filter(None, names):
                tested[name]["lines"].setdefault(module, []).append(line)
    return {name: test for name, test in tested.items() if name not in watcher.failed}


def run_imported(mutant: Mutant, names: list[str]) -> dict[str, Any]:
    """Run tests in a session of its own, in which the mutant is what an import finds."""
    path, source = Path(mutant.module).resolve(), mutated(mutant)
    loader: Any = importlib.machinery.SourceFileLoader
    unchanged = loader.get_code

    def get_code(self: Any, name: str) -> Any:
        if Path(self.path).resolve() != path:
            return unchanged(self, name)
        return compile(source, self.path, "exec", dont_inherit=True)

    loader.get_code = get_code
    watcher = Watcher()
    if pytest.main([*_OPTIONS, *names], plugins=[watcher]) == 0:
        return {"outcome": "survived", "tests": len(names)}
    return {"outcome": "killed", "by": next(iter(watcher.failed), "import")}


def tests_of(mutant: Mutant, tested: dict[str, Tested]) -> list[str]:
    """Return the tests that run what a mutant changes, the quickest first.

    What an import alone runs bears on all tests that run a line of the module, and on others: a
    value is made by no line of its own. Of these the quick ones are taken.
    """
    span = span_of(mutant.module, mutant.line)
    first, last, _ = span or (0, sys.maxsize, False)
    found = [
        name
        for name, test in tested.items()
        if any(first <= line <= last for line in test.lines.get(mutant.module, ()))
        or (span is None and test.seconds < _QUICK_S)
    ]
    return sorted(found, key=lambda name: tested[name].seconds)


def run_all(run: Run, mutants: list[Mutant]) -> None:
    """Run all mutants that have no result."""
    known = run.known()
    left = [mutant for mutant in mutants if mutant.key not in known]
    valid = [mutant for mutant in left if is_valid(mutant)]
    for mutant in set(left).difference(valid):
        run.note(mutant, {"outcome": "invalid"})
    for name in _PRELOADED:
        importlib.import_module(name)
    quick = Session(run, [mutant for mutant in valid if not runs_at_import(mutant)])
    run.in_fork(lambda: int(pytest.main([*_OPTIONS, *run.tests], plugins=[quick])), 86_400)
    tested = run.read_tested()
    for mutant in filter(runs_at_import, valid):
        run_one(run, mutant, tested, partial(run_imported, mutant))


def run_one(
    run: Run, mutant: Mutant, tested: dict[str, Tested], work: Callable[[list[str]], Any]
) -> None:
    """Run one mutant in a fork, if any test runs it, and note how it ended."""
    names = tests_of(mutant, tested)
    if not names:
        run.note(mutant, {"outcome": "untested"})
        return
    limit_s = 60 + 4 * sum(tested[name].seconds for name in names)
    run.note(mutant, run.in_fork(partial(work, names), limit_s) or {"outcome": "timeout"})


def report(run: Run, mutants: list[Mutant]) -> None:
    """Print how many mutants of each module ended how."""
    known = run.known()
    print("module", "mutants", *_OUTCOMES, sep="\t")
    for module in run.modules:
        ended = [known[m.key]["outcome"] for m in mutants if m.module == module]
        print(module, len(ended), *(ended.count(outcome) for outcome in _OUTCOMES), sep="\t")


def main() -> None:
    """Run what has no result yet and print the score of each module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--tests", nargs="+", required=True)
    parser.add_argument("--sample", type=int, help="run so many of the shuffled mutants")
    parser.add_argument("--seed", default="", help="shuffles them")
    options = parser.parse_args()
    run = Run(options.directory, options.modules, options.tests)
    mutants = [mutant for module in run.modules for mutant in find_mutants(module)]
    if options.sample:
        random.Random(options.seed).shuffle(mutants)
        del mutants[options.sample :]
    run_all(run, mutants)
    report(run, mutants)


if __name__ == "__main__":
    main()
