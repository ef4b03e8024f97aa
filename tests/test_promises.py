"""Every promise of the documentation is held by a test that exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def names_of(path):
    """Return the names of the tests of a file, as pytest collects them."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    nodes = [("", node) for node in body]
    nodes += [(f"{one.name}::", node) for one in classes for node in one.body]
    return {
        f"{path.name}::{prefix}{node.name}"
        for prefix, node in nodes
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_each_promise_names_tests_that_exist():
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    existing = set().union(*map(names_of, Path(__file__).parent.glob("test_*.py")))
    promises = re.split(r"\n(?=- |\n|#)", text)
    promises = [promise for promise in promises if promise.startswith("- ")]
    assert len(promises) > 50
    for promise in promises:
        named = re.findall(r"`(test_[\w.]+(?:::\w+)+)`", promise)
        assert named, f"names no test: {promise}"
        assert set(named) <= existing, f"no such test: {promise}"
