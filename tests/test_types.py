"""Types, as type checkers and editors see the package."""

import ast
from pathlib import Path

import user_script

import skdam

PACKAGE = Path(skdam.__file__).parent


def test_stub_has_the_names_that_are_imported_when_used():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    named = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            named |= {alias.asname: node.module for alias in node.names}
    expected = dict.fromkeys(skdam._MODULES) | skdam._NAMES
    assert named == expected


def test_package_is_marked_as_typed():
    assert (PACKAGE / "py.typed").exists()


def test_script_of_a_user_runs(capsys):
    user_script.main()
    assert skdam.__version__ in capsys.readouterr().out
