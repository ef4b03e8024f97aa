"""Pages of the documentation: their code runs, and they keep up with the package."""

import ast
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
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


BLOCK = {
    ".md": re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE),
    ".rst": re.compile(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", re.MULTILINE),
}
# Where these are not installed, the blocks that import them are left out.
OPTIONAL = {"cupy", "dask", "onnx", "onnxruntime", "skl2onnx", "skops", "torch"}
# Callbacks are new in scikit-learn 1.9.
OPTIONAL |= {"rich", "sklearn.callback"}
# These take hours, or start processes; other tests do the same with less.
TOO_LONG = "load_mnist()", "dask.distributed"
SMALLER = {
    "n_iter=20": "n_iter=1",
    "n_jobs=-1": "n_jobs=1",
    "n_trials=200": "n_trials=20",
}
"""Numbers that other tests need not repeat."""

APART = "contributing.md", "tuning.md"
"""Pages whose code has tests of its own."""


def blocks_of(page):
    """Return the blocks of Python code on a page."""
    blocks = BLOCK[page.suffix].findall(page.read_text())
    return [textwrap.dedent(block) for block in blocks]


PAGES = sorted(path for kind in BLOCK for path in DOCS.glob(f"*{kind}"))
PAGES = [page for page in PAGES if page.name not in APART and blocks_of(page)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_of_a_page_runs_in_its_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    names = {}
    for number, block in enumerate(blocks_of(page), start=1):
        for full, small in SMALLER.items():
            block = block.replace(full, small)
        code = compile(block, f"{page.name}, block {number}", "exec")
        if any(call in block for call in TOO_LONG):
            continue
        try:
            exec(code, names)
        except ModuleNotFoundError as error:
            assert error.name in OPTIONAL, error
    plt.close("all")


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


WIDEST = 92
"""Characters of a line of code that fits beside nothing at 1280 pixels."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_code_are_not_cut(page):
    lines = "\n".join(blocks_of(page)).splitlines()
    assert max(map(len, lines)) <= WIDEST


def test_titles_are_short():
    for page in DOCS.glob("*.md"):
        for title in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
            assert len(title) <= 50, f"{page.name}: {title}"


def test_every_page_is_in_the_index():
    index = (DOCS / "index.rst").read_text()
    names = {page.stem for kind in BLOCK for page in DOCS.glob(f"*{kind}")}
    names -= {"index", "sg_execution_times"}  # The second is written by the gallery.
    assert {name for name in names if f"\n   {name}\n" not in index} == set()
