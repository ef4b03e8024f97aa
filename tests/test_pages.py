"""Pages of the documentation: their code runs, and they keep up with the package."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sklearn.model_selection import ParameterSampler

import skdam

DOCS = Path(__file__).parents[1] / "docs"


def words(text):
    """Return a text without what Markdown and line breaks add to it."""
    return re.sub(r"[\s>]+", " ", text)


def warned_texts():
    """Yield file, line and the fixed parts of each warning that the package gives."""
    package = Path(skdam.__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                text = node.args[0]
                parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                fixed = [part.value for part in parts if isinstance(part, ast.Constant)]
                yield pytest.param(fixed, id=f"{path.stem}:{node.lineno}")


@pytest.mark.parametrize("fixed", list(warned_texts()))
def test_the_page_has_every_warning(fixed):
    page = words((DOCS / "warnings.md").read_text())
    # Formats, as of a percentage, are constants, too.
    parts = [words(part).strip() for part in fixed]
    assert any(parts)
    for part in parts:
        assert part in page


def test_the_search_space_can_be_searched():
    page = (DOCS / "tuning.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(code, names)
    model, X, y = (names[name] for name in ("model", "X", "y"))
    candidates = list(ParameterSampler(names["space"], 3, random_state=0))
    assert len({str(candidate) for candidate in candidates}) == 3
    for candidate in candidates:
        model.set_params(**candidate)
        assert model.fit(X[:500], y[:500]).score(X[500:], y[500:]) > 0.5
    assert names["search"].get_params()["n_iter"] == 20


def test_the_energy_of_the_page_can_be_added(tmp_path):
    page = (DOCS / "contributing.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    package = Path(skdam.__file__).parent
    shutil.copytree(package, tmp_path / "skdam")
    energies = tmp_path / "skdam" / "energies.py"
    text = energies.read_text()
    before = "ENERGY_CONSTRAINT = ["
    assert text.count(before) == 1
    energies.write_text(text.replace(before, f"{code}\n\n{before}"))
    user = """
import numpy as np
from sklearn.datasets import load_iris
from skdam import DenseAssociativeMemory, DenseAssociativeMemoryClassifier
from skdam.energies import get_energy

F, x, step = get_energy("hyperbola"), np.linspace(-3, 3, 13), 1e-5
assert np.allclose(F.activation(x), (F.value(x + step) - F.value(x - step)) / 2 / step)
slope = (F.activation(x + step) - F.activation(x - step)) / 2 / step
assert np.allclose(F.slope(x), slope)
X, y = load_iris(return_X_y=True)
clf = DenseAssociativeMemoryClassifier(energy="hyperbola", random_state=0)
X = (X - X.mean(axis=0)) / X.std(axis=0)
assert clf.fit(X, y).score(X, y) > 0.9
patterns = np.eye(3) > 0
memory = DenseAssociativeMemory(energy="hyperbola").fit(patterns)
assert memory.recall(patterns).shape == (3, 3)
"""
    run = subprocess.run(
        [sys.executable, "-c", user], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_versions_are_the_same_everywhere():
    root = DOCS.parent
    citation = (root / "CITATION.cff").read_text()
    assert f"\nversion: {skdam.__version__}\n" in citation
    assert f"## {skdam.__version__}\n" in (DOCS / "changelog.md").read_text()
    pinned = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    (ruff,) = pinned["optional-dependencies"]["lint"]
    hooks = root / ".pre-commit-config.yaml"
    # Archives have no hooks.
    if hooks.exists():
        assert f"rev: v{ruff.removeprefix('ruff==')}\n" in hooks.read_text()


PARAMETER = re.compile(r"^\| [^|]*\| ([^|]*)\|", re.MULTILINE)


def test_tuning_names_parameters_that_exist():
    from skdam import DenseAssociativeMemory, DenseAssociativeMemoryClassifier

    known = {"X"}
    for estimator in (DenseAssociativeMemory(), DenseAssociativeMemoryClassifier()):
        known |= set(estimator.get_params())
    rows = PARAMETER.findall((DOCS / "tuning.md").read_text())[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(named) > 10
    assert set(named) <= known
