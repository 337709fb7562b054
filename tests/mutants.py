"""Which mutants a module has, as cosmic-ray makes them: one place changed at a time."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code


@dataclass(frozen=True, slots=True)
class Mutant:
    """The ``occurrence``-th place of a module where an operator of cosmic-ray applies."""

    module: str
    operator: str
    occurrence: int
    line: int

    @property
    def key(self) -> str:
        return f"{self.module} {self.operator} {self.occurrence}"


@cache
def text_of(module: str) -> str:
    """Return a module's own text."""
    return Path(module).read_text()


@cache
def mutated(mutant: Mutant) -> str:
    """Return the text of the mutant's module, changed."""
    operator = cosmic_ray.plugins.get_operator(f"core/{mutant.operator}")()
    return str(mutate_code(text_of(mutant.module), operator, mutant.occurrence))


def change_of(mutant: Mutant) -> str:
    """Return the first line that differs, before and after."""
    pairs = zip(text_of(mutant.module).splitlines(), mutated(mutant).splitlines(), strict=False)
    return next((f"{old.strip()}  ->  {new.strip()}" for old, new in pairs if old != new), "?")


def find_mutants(module: str) -> list[Mutant]:
    """Return the mutants of a module without those in annotations, which nothing runs."""
    annotated = _annotated_spans(ast.parse(text_of(module)))
    nodes = list(ast_nodes(get_ast(text_of(module))))
    found: list[Mutant] = []
    for name in cosmic_ray.plugins.operator_names():
        operator_class = cosmic_ray.plugins.get_operator(name)
        if operator_class.arguments():
            continue
        places = (start for node in nodes for start, _ in operator_class().mutation_positions(node))
        found += [
            Mutant(module, name.removeprefix("core/"), occurrence, start[0])
            for occurrence, start in enumerate(places)
            if not any(first <= start < last for first, last in annotated)
        ]
    return found


def _annotated_spans(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    annotations = [
        annotation
        for node in ast.walk(tree)
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if annotation is not None
    ]
    return [((a.lineno, a.col_offset), (a.end_lineno, a.end_col_offset)) for a in annotations]


@cache
def span_of(module: str, line: int) -> tuple[int, int, bool] | None:
    """Return the first and last of the lines that run when the statement at ``line`` does, and
    whether that is in a function's body. Of a definition they are its body's.

    None when an import alone runs it, so that it bears on all of the module.
    """
    inside = [
        node
        for node in ast.walk(ast.parse(text_of(module)))
        if isinstance(node, ast.stmt | ast.ExceptHandler)
        and _first_line(node) <= line <= int(node.end_lineno or 0)
    ]
    inside.sort(key=_first_line)
    if not any(isinstance(node, ast.FunctionDef) for node in inside):
        return None
    innermost = inside[-1]
    if isinstance(innermost, ast.FunctionDef) and line < innermost.body[0].lineno:
        is_nested = sum(isinstance(node, ast.FunctionDef) for node in inside) > 1
        return innermost.body[0].lineno, int(innermost.end_lineno or 0), is_nested
    body = getattr(innermost, "body", None)
    last = body[0].lineno - 1 if body and line < body[0].lineno else innermost.end_lineno
    return _first_line(innermost), max(int(last or 0), line), True


def _first_line(node: Any) -> int:
    return int(min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]))


def runs_at_import(mutant: Mutant) -> bool:
    """Tell whether an import runs what is changed: a constant, a default, a decorator."""
    span = span_of(mutant.module, mutant.line)
    return span is None or not span[2]


def is_valid(mutant: Mutant) -> bool:
    """Tell whether Python takes the mutant's text, with no more than a warning."""
    try:
        compile(mutated(mutant), mutant.module, "exec")
    except SyntaxError:
        return False
    return True
