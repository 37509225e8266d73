"""Mutation testing of the judge: small faults put into its code one by one, each of which a test ought to notice.

``python -m benchmarks.mutants reports/level`` prints what no test noticed, ``--json`` a line for every fault.
A fault that changes nothing (an *equivalent mutant*) survives rightly; any other that does lacks a test.
"""

from __future__ import annotations

import ast
import copy
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from atm.errors import unknown
from benchmarks.command import Parser, run

ROOT = Path(__file__).parents[1]
LIMIT = 60  # seconds for the tests of one fault
# The judge's modules, each with the tests that are fast enough to be run for every fault in it.
TESTS = {
    "reports/level": "reports/test_level", "reports/verdict": "reports/test_verdict reports/test_settle",
    "reports/findings": "reports/test_findings reports/test_bound reports/test_meant",
    "reports/harm": "reports/test_meant reports/test_findings", "reports/flags": "reports/test_flag_edges",
    "reports/case": "reports/test_flag_edges", "reports/peers": "reports/test_peers reports/test_flag_edges",
    "reports/history": "reports/test_history", "privacy_metrics/leakage": "privacy_metrics/test_leakage",
    "privacy_metrics/significance": "privacy_metrics/test_significance",
    "privacy_metrics/statistics": "privacy_metrics/test_intervals privacy_metrics/test_statistics",
    "privacy_metrics/limits": "privacy_metrics/test_limits", "audit/evaluate": "audit/test_scored audit/test_repeats",
    "privacy_metrics/information": "privacy_metrics/test_information",
}  # fmt: skip
COMPARED = {"Lt": "LtE GtE", "LtE": "Lt Gt", "Gt": "GtE LtE", "GtE": "Gt Lt", "Eq": "NotEq", "NotEq": "Eq"}
COMPARED |= {"Is": "IsNot", "IsNot": "Is", "In": "NotIn", "NotIn": "In"}
REPLACED = {"Add": "Sub", "Sub": "Add", "Mult": "Div", "Div": "Mult", "FloorDiv": "Mult", "Pow": "Mult", "Mod": "Mult"}
REPLACED |= {"BitAnd": "BitOr", "BitOr": "BitAnd"}
NAMED = {"any": "all", "min": "max", "amin": "amax", "argmin": "argmax", "floor": "ceil", "mean": "sum"}
NAMED |= {swapped: name for name, swapped in NAMED.items() if name != "mean"}
PRELOADED = "hypothesis kornia lpips matplotlib.pyplot plotly pytest scipy.stats timm torchmetrics atm.victims"
Change = Callable[[Any], ast.AST]


def changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """Faults of one node, in words and as what makes them of a copy."""
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                for new in COMPARED[type(op).__name__].split():
                    yield f"{type(op).__name__} -> {new}", _set(f"ops[{i}]", getattr(ast, new)())
        case ast.BoolOp(op=op, values=values):
            yield "and <-> or", _set("op", ast.Or() if isinstance(op, ast.And) else ast.And())
            for i in range(len(values)):
                yield f"operand {i} left out", _without("values", i)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield "sign or negation left out", lambda n: n.operand
        case ast.BinOp(op=op) if (old := type(op).__name__) in REPLACED:
            yield f"{old} -> {REPLACED[old]}", _set("op", getattr(ast, REPLACED[old])())
        case ast.Constant(value=bool() as value):
            yield f"{value} -> {not value}", _set("value", not value)
        case ast.Constant(value=int() | float() as value):
            near = [value - 1] if isinstance(value, int) or not value else [value * 2, value * 0.9]
            for other in (value + 1, *near):
                yield f"{value} -> {other}", _set("value", other)
        case ast.Constant(value=str() as value) if value and " " not in value and "\n" not in value:
            yield f"{value!r} -> other", _set("value", value + "?")
        case ast.Call(keywords=keywords):
            for i, keyword in enumerate(keywords):
                if keyword.arg and keyword.arg != "strict":
                    yield f"{keyword.arg}= left out", _without("keywords", i)
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in NAMED:
            yield f"{name} -> {NAMED[name]}", _set("id" if isinstance(node, ast.Name) else "attr", NAMED[name])
        case ast.IfExp() | ast.If():
            for truth in (True, False):
                yield f"condition {truth}", _set("test", ast.Constant(truth))
        case ast.comprehension(ifs=ifs):
            for i in range(len(ifs)):
                yield f"filter {i} left out", _without("ifs", i)
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield "returns None", _set("value", ast.Constant(None))
            if isinstance(value, ast.Compare | ast.BoolOp | ast.UnaryOp) or ast.unparse(value).startswith("bool("):
                yield "returns the opposite", _set("value", ast.UnaryOp(ast.Not(), value))
        case ast.Expr() | ast.AugAssign() | ast.Raise():
            yield "statement left out", lambda n: ast.Pass()


def _set(field: str, value: object) -> Change:
    name, _, index = field.rstrip("]").partition("[")

    def change(node: ast.AST) -> ast.AST:
        getattr(node, name).__setitem__(int(index), value) if index else setattr(node, name, value)
        return node

    return change


def _without(field: str, index: int) -> Change:
    def change(node: ast.AST) -> ast.AST:
        rest = [part for i, part in enumerate(getattr(node, field)) if i != index]
        return rest[0] if isinstance(node, ast.BoolOp) and len(rest) == 1 else _set(field, rest)(node)

    return change


def mutants(source: str) -> Iterator[tuple[int, str, ast.Module]]:
    """Line, words and tree of every fault. What is only said (docstrings, annotations, messages) is left alone."""
    tree = ast.parse(source)
    for path in list(_paths(tree, ())):
        node = _at(tree, path)
        for words, change in changes(node):
            mutant = copy.deepcopy(tree)
            _set(path[-1], change(_at(mutant, path)))(_at(mutant, path[:-1]))
            line = getattr(node, "lineno", 0) or getattr(getattr(node, "target", node), "lineno", 0)
            yield line, f"{ast.unparse(node).splitlines()[0]}: {words}", ast.fix_missing_locations(mutant)


def _at(node: ast.AST, path: tuple[str, ...]) -> ast.AST:
    for step in path:
        name, _, index = step.rstrip("]").partition("[")
        node = getattr(node, name)[int(index)] if index else getattr(node, name)
    return node


def _paths(node: ast.AST, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for field, value in ast.iter_fields(node):
        children = [(f"{field}[{i}]", v) for i, v in enumerate(value)] if isinstance(value, list) else [(field, value)]
        for step, child in children:
            said = isinstance(child, ast.JoinedStr | ast.Expr) and not isinstance(getattr(child, "value", 0), ast.Call)
            checked = isinstance(child, ast.keyword) and child.arg == "strict"
            left_alone = said or checked or field in ("annotation", "returns", "decorator_list", "exc")
            if isinstance(child, ast.AST) and not left_alone:
                yield (*path, step)
                yield from _paths(child, (*path, step))


class _Faulty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a tree instead of its file."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self.module, self.tree = module, tree

    def find_spec(self, name: str, path: object = None, target: object = None):  # type: ignore[no-untyped-def]
        ours = name == self.module.replace("/", ".")
        return importlib.util.spec_from_file_location(name, ROOT / f"{self.module}.py", loader=self) if ours else None

    def create_module(self, spec: object) -> None: ...

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, f"{self.module}.py", "exec"), module.__dict__)


def survives(module: str, tree: ast.Module) -> bool:
    """Whether all tests of a module pass with a fault in it, in a child process; one that hangs is noticed."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    signal.alarm(LIMIT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for output in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    sys.meta_path.insert(0, _Faulty(module, tree))
    import pytest

    fast = [
        "-x",
        "--assert=plain",
        *["-p", "no:cacheprovider", "-p", "no:unraisableexception", "-p", "no:threadexception"],
    ]
    tests = [str(ROOT / f"tests/{test}.py") for test in TESTS[module].split()]
    os._exit(int(pytest.main([*fast, "--rootdir", str(ROOT), *tests])))


def main() -> None:
    """The command line."""
    parser = Parser("mutants", __doc__)
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="such as reports/level (default: all)")
    parser.add_argument("--json", action="store_true", help="a line for every fault")
    asked = parser.parse_args()
    for module in asked.modules:
        if module not in TESTS:
            raise unknown("module of the judge", module, TESTS)
    # Imported once for all children; what may hold the module under test is not.
    for name in PRELOADED.split():
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] in ("privacy_metrics", "reports", "audit")]:
        del sys.modules[name]
    for module in asked.modules:
        source = (ROOT / f"{module}.py").read_text(encoding="utf-8")
        if not survives(module, ast.parse(source)):
            sys.exit(f"{module}: its tests fail, or take more than {LIMIT} s, with no fault in it")
        alive = []
        for line, words, tree in mutants(source):
            alive.append(survives(module, tree))
            if asked.json:
                print(json.dumps({"module": module, "line": line, "mutant": words, "survived": alive[-1]}), flush=True)
            elif alive[-1]:
                print(f"{module}.py:{line}: {words}", flush=True)
        print(f"{module}: {len(alive)} faults, {len(alive) - sum(alive)} noticed, {sum(alive)} not", file=sys.stderr)


if __name__ == "__main__":
    run(main)
