"""The declared queues of a program's modules, and the workers that work them."""

import importlib
import traceback
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

from feedmill.declaring import Declared
from feedmill.rules import Weight
from feedmill.workers import Worker
from shared.errors import AppError
from shared.queue import Breaker
from shared.reasons import text_of


def load_app(module_names: Sequence[str]) -> list[Declared[Any]]:
    """Import modules and return the queues that their names stand for, in that order.

    Raises:
        AppError: one cannot be imported, declares none, or two functions work one queue; the text
            is one line that names the module.
    """
    found: dict[str, Declared[Any]] = {}
    for module_name in module_names:
        declared = _declared_in(_import(module_name))
        if not declared:
            raise AppError(
                f"{module_name}: declares no queue; nothing in it is decorated with @feedmill.queue"
            )
        for each in declared:
            other = found.setdefault(each.name, each)
            if other is not each:
                raise AppError(f"{module_name}: {each!r}, but there is {other!r} already")
    return list(found.values())


class AppWorkers:
    """The workers of declared queues of some weights, one each, all of one name."""

    def __init__(
        self, declared: Sequence[Declared[Any]], weights: Collection[Weight], name: str
    ) -> None:
        self.declared = tuple(each for each in declared if each.rules.weight in weights)
        self._workers: dict[str, Worker] = {each.name: each.worker(name) for each in self.declared}

    def start(self) -> None:
        """Begin to work, on threads of their own."""
        for worker in self._workers.values():
            worker.start()

    def running_counts(self) -> dict[str, int]:
        """Return how many jobs are being run, by the queue's name."""
        return {name: worker.running_count for name, worker in self._workers.items()}

    def breakers(self) -> dict[str, Breaker | None]:
        """Return what stops each queue's worker while something is away, by the queue's name."""
        return {name: worker.breaker for name, worker in self._workers.items()}

    def close(self, timeout_s: float) -> None:
        """Close all at once: no more claims; what still runs after ``timeout_s`` is handed back."""
        if not self._workers:
            return
        with ThreadPoolExecutor(len(self._workers)) as pool:
            closing = [
                pool.submit(worker.close, timeout_s=timeout_s) for worker in self._workers.values()
            ]
        for each in closing:
            each.result()


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{module_name}.".startswith(f"{exc.name}."):
            where = "neither installed nor in the current folder"
            hint = "; a module is named without .py" if module_name.endswith(".py") else ""
            raise AppError(f"{module_name}: there is no module {exc.name}, {where}{hint}") from exc
        raise AppError(f"{module_name}: {_describe(exc)}") from exc
    except (Exception, SystemExit) as exc:
        raise AppError(f"{module_name}: {_describe(exc)}") from exc


def _declared_in(module: ModuleType) -> list[Declared[Any]]:
    return [value for value in vars(module).values() if isinstance(value, Declared)]


def _describe(error: BaseException) -> str:
    """Return in one line what ended an import, and where in the program that was."""
    text = " ".join(text_of(error).split())
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {text}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({place.filename}, line {place.lineno})"
