"""The house rules as pure functions over source text: each yields what it found and how far it exceeds.

Rule: a check reads one file's syntax tree and nothing else, so that each can be shown to fail on a few lines
(``tests/unit/test_tidy.py`` does). The doubt: set iteration is found where the set is visible in the same file
(a display, a call, an annotation), not where it comes from another module.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
PARAMETERS_MAX = 5
NEVER_ENDS_S_MIN = 60
PATCHES_PER_1000_LINES_MAX = 10
FILE_NAMES_BANNED = {"utils", "util", "common", "misc", "helpers", "helper", "manager", "base"}

_ORDER_FREE = {"sorted", "set", "frozenset", "sum", "min", "max", "any", "all", "len"}
_THREADS = {"Thread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "Process"}
_SETS = re.compile(r"\b(set|frozenset|Set|AbstractSet|MutableSet)\b(\[|$)")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: its path inside the repository, its text, its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def imports(self) -> set[str]:
        """Top-level names of everything that the file imports, wherever in it the import stands."""
        found = [node for node in self.nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        return {name.split(".")[0] for node in found for name in _imported(node)}


@dataclass(frozen=True)
class Finding:
    """``size`` is what the rule counts: lines, parameters, occurrences."""

    rule: str
    where: str
    size: int = 1

    @property
    def key(self) -> str:
        return f"{self.rule} {self.where}"


def parse(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text))


# ---------------------------------------------------------------------------------------------- size


def file_length(source: Source) -> Iterator[Finding]:
    if source.lines > FILE_LINES_MAX:
        yield Finding("file-length", source.path, source.lines)


def function_length(source: Source) -> Iterator[Finding]:
    for name, function in _functions(source.tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield Finding("function-length", f"{source.path}::{name}", lines)


def parameters(source: Source) -> Iterator[Finding]:
    for name, function in _functions(source.tree):
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        counted = [each for each in every if each.arg not in {"self", "cls"}]
        if len(counted) > PARAMETERS_MAX and not _is_test(function):
            yield Finding("parameters", f"{source.path}::{name}", len(counted))


def _is_test(function: _Function) -> bool:
    return function.name.startswith("test_")  # fixtures are asked for by name, not passed by a caller


# ---------------------------------------------------------------------------------------------- names


def file_name(source: Source) -> Iterator[Finding]:
    if source.path.rsplit("/", 1)[-1].removesuffix(".py") in FILE_NAMES_BANNED:
        yield Finding("file-name", source.path)


def module_docstring(source: Source) -> Iterator[Finding]:
    if not ast.get_docstring(source.tree):
        yield Finding("module-docstring", source.path)


# ------------------------------------------------------------------------------------------- leftovers


def unfinished(source: Source) -> Iterator[Finding]:
    """Marks of work left for later: the usual words, NotImplementedError, functions that only pass."""
    found = len(re.findall(r"\bTO[D]O\b|\bFIX[M]E\b", source.text))
    for node in source.nodes:
        found += isinstance(node, ast.Name) and node.id == "NotImplementedError"
        found += isinstance(node, _Function) and _only_passes(node)
    if found:
        yield Finding("unfinished", source.path, found)


def _only_passes(function: _Function) -> bool:
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return bool(body) and all(isinstance(statement, ast.Pass) for statement in body)


def blind_except(source: Source) -> Iterator[Finding]:
    """``except:``, ``except Exception`` and ``except BaseException``: each needs its reason in the ratchet."""
    found = 0
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler):
            found += node.type is None or bool({"Exception", "BaseException"} & set(_names(node.type)))
        if isinstance(node, ast.Call) and _called(node) == "suppress":
            found += any({"Exception", "BaseException"} & set(_names(argument)) for argument in node.args)
    if found:
        yield Finding("blind-except", source.path, found)


def dodged_import(source: Source) -> Iterator[Finding]:
    """An import of atoll that hides from the module's head: lazy, or under TYPE_CHECKING."""
    top = {id(node) for node in source.tree.body}
    found = sum(
        id(node) not in top and any(name.split(".")[0] == "atoll" for name in _imported(node))
        for node in source.nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
    )
    if found:
        yield Finding("dodged-import", source.path, found)


def own_thread(source: Source) -> Iterator[Finding]:
    """A thread started outside of the runtime: locks and events are anybody's, threads are not."""
    found = sum(isinstance(node, ast.Call) and _called(node) in _THREADS for node in source.nodes)
    if found:
        yield Finding("own-thread", source.path, found)


# ------------------------------------------------------------------------------------------ pure code


def impure_calls(source: Source) -> Iterator[Finding]:
    """``datetime.now``, ``date.today``, ``hash(`` and ``id(``: answers that differ from run to run."""
    found = 0
    for node in source.nodes:
        if isinstance(node, ast.Attribute):
            found += node.attr in {"utcnow", "today"} or (node.attr == "now" and "date" in _text(node.value))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += node.func.id in {"hash", "id"}
    if found:
        yield Finding("impure-call", source.path, found)


def set_iteration(source: Source) -> Iterator[Finding]:
    """A loop whose order is that of a set: it differs with PYTHONHASHSEED, and so would the decision."""
    known = _known_sets(source.nodes)
    free = {
        id(argument)
        for node in source.nodes
        if isinstance(node, ast.Call) and _called(node) in _ORDER_FREE
        for argument in node.args
    }
    found = 0
    for node in source.nodes:
        if isinstance(node, ast.For | ast.AsyncFor):
            found += _is_set(node.iter, known)
        if isinstance(node, ast.ListComp | ast.DictComp | ast.GeneratorExp) and id(node) not in free:
            found += any(_is_set(part.iter, known) for part in node.generators)
        if isinstance(node, ast.Call) and _called(node) in {"list", "tuple"} and node.args:
            found += _is_set(node.args[0], known) and id(node) not in free
    if found:
        yield Finding("set-iteration", source.path, found)


def _known_sets(nodes: list[ast.AST]) -> set[str]:
    """Names and attributes that are sets by annotation or by what is assigned to them."""
    known: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.AnnAssign) and _SETS.search(_text(node.annotation).split("[")[0] + "["):
            known.add(_text(node.target))
        if isinstance(node, ast.Assign) and _is_set(node.value, known):
            known.update(_text(target) for target in node.targets)
        if isinstance(node, ast.arg) and node.annotation is not None:
            annotation = _text(node.annotation)
            if _SETS.match(annotation):
                known.add(node.arg)
    return known


def _is_set(node: ast.expr, known: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {"set", "frozenset"}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        return _is_set(node.left, known) or _is_set(node.right, known)
    return isinstance(node, ast.Name | ast.Attribute) and _text(node) in known


# ---------------------------------------------------------------------------------------------- tests


def sleeping_test(source: Source) -> Iterator[Finding]:
    """Time passing is no condition; ``tests/waiting.py`` has the one bounded wait. A yield (0) is fine, and so
    is a sleep so long that it stands for "never ends" and is cancelled.
    """
    found = sum(
        isinstance(node, ast.Call) and _called(node) == "sleep" and not _yields_or_never_ends(node)
        for node in source.nodes
    )
    if found:
        yield Finding("sleeping-test", source.path, found)


def skipped_test(source: Source) -> Iterator[Finding]:
    found = 0
    for node in source.nodes:
        if isinstance(node, ast.Attribute):
            found += node.attr in {"skip", "skipif", "xfail", "importorskip"} and "pytest" in _text(node)
    if found:
        yield Finding("skipped-test", source.path, found)


def patch_lines(source: Source) -> int:
    """Lines that reach into code under test instead of giving it its inputs."""
    pattern = re.compile(r"\bmonkeypatch\b|\bmock\b|\bpatch\(|\bMagicMock\b|\bsetattr\(")
    return sum(bool(pattern.search(line)) for line in source.text.splitlines())


# ----------------------------------------------------------------------------------------- dependencies


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if node.module and not node.level else []


# --------------------------------------------------------------------------------------------- reading


def _functions(tree: ast.Module) -> Iterator[tuple[str, _Function]]:
    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, _Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _Function):
                yield prefix + child.name, child
            inside = f"{prefix}{child.name}." if isinstance(child, _Function | ast.ClassDef) else prefix
            yield from visit(child, inside)

    yield from visit(tree, "")


def _called(node: ast.Call) -> str:
    return _text(node.func).rsplit(".", 1)[-1]


def _yields_or_never_ends(node: ast.Call) -> bool:
    seconds = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
    return isinstance(seconds, int | float) and (seconds == 0 or seconds >= NEVER_ENDS_S_MIN)


def _names(node: ast.expr) -> list[str]:
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]


def _text(node: ast.AST) -> str:
    return ast.unparse(node)


EVERYWHERE: tuple[Callable[[Source], Iterator[Finding]], ...] = (
    file_length,
    function_length,
    parameters,
    file_name,
    module_docstring,
    unfinished,
    blind_except,
)
PURE = (impure_calls, set_iteration)
TESTS = (sleeping_test, skipped_test)
