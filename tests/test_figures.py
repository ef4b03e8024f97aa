"""The paper's figures: what they draw, against numbers from elsewhere."""

import math
import subprocess
import sys

import literal
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdam import DenseAssociativeMemoryClassifier
from skdam.figures import figure_1, figure_2, figure_3, figure_4, figure_5, table_1
from skdam.inspection import decisive_memories, recognition_units
from skdam.model_selection import TrainingRun


@pytest.fixture(autouse=True)
def agg():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def run(*errors, threshold=0.02):
    return TrainingRun({}, np.array(errors), threshold, None, 1.0)


def test_error_curves_and_first_crossings():
    ax = plt.figure().subplots()
    runs = {2: [run(0.5, 0.03, 0.01), run(0.4, 0.019)], 3: [run(0.3, 0.2)]}
    assert figure_1(runs, ax=ax) is ax.figure
    curves = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) > 2]
    assert_allclose(curves[0], [50, 3, 1])
    arrows = [text.xy[0] for text in ax.texts if hasattr(text, "xy")]
    assert arrows == [3, 2]
    colors = {line.get_color() for line in ax.lines} - {"gray"}
    labels = {text.get_text(): text.get_color() for text in ax.texts if text.get_text()}
    assert set(labels) == {"n = 2", "n = 3"}
    assert set(labels.values()) == colors


def test_names_of_curves_do_not_overlap():
    fig = figure_1({power: [run(0.1, 0.01)] for power in (2, 3, 4, 5, 6)})
    fig.canvas.draw()
    boxes = [
        t.get_window_extent() for t in fig.axes[0].texts if t.get_text()[:1] == "n"
    ]
    boxes.sort(key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in zip(boxes, boxes[1:], strict=False))


def test_an_error_of_zero_can_be_drawn():
    figure_1({2: [run(0.1, 0.0)]}).canvas.draw()


@pytest.mark.parametrize("n", [0, 6])
def test_too_few_or_too_many_powers(n):
    with pytest.raises(ValueError, match=f"runs must be 1 to 5; got {n}"):
        figure_1({power: [run(0.1)] for power in range(n)})
    with pytest.raises(ValueError, match=f"powers must be 1 to 5; got {n}"):
        figure_4(10, 5, range(2, 2 + n), 2)
    assert not plt.get_fignums()


def test_memories_and_both_histograms(digits):
    X, X_test, y, y_test = digits
    clf = DenseAssociativeMemoryClassifier(30, power=3, max_iter=10, random_state=0)
    model = make_pipeline(StandardScaler(), clf).fit(X, y)
    axes = figure_2([model, model], X_test, y_test).axes
    assert axes[0].get_title() == f"n = 3: error {1 - model.score(X_test, y_test):.1%}"
    units = [bar.get_height() for bar in axes[2].patches]
    assert units == np.bincount(recognition_units(model), minlength=11).tolist()
    counts = np.minimum(decisive_memories(model, X_test), 11)
    shown = [bar.get_height() for bar in axes[4].patches]
    assert shown[-11:] == np.bincount(counts, minlength=12)[1:].tolist()


def test_classifiers_and_samples_belong_together(digits):
    X, _, y, _ = digits
    clf = DenseAssociativeMemoryClassifier(10, max_iter=1, random_state=0)
    clf.fit(X[:200], y[:200])
    for classifiers, samples in ((None, X), ([clf], None), ([], X)):
        with pytest.raises(ValueError, match="classifiers must be at least one"):
            figure_2(classifiers, samples)
    assert not plt.get_fignums()


def test_the_memory_has_more_neurons_than_its_dual():
    memory, dual = figure_3().axes
    texts = [[text.get_text() for text in ax.texts] for ax in (memory, dual)]
    assert set(texts[0]) - set(texts[1]) == {"$x_1$", "$x_2$", "$F$"}


def recalled(patterns, state, power, rectified, sweeps=20):
    """Recall by the letter of the equations, in a fixed order of neurons."""
    F = literal.rectified_polynomial(power) if rectified else literal.polynomial(power)
    state = state.copy()
    for _ in range(sweeps):
        for i in range(len(state)):
            rest = patterns @ state - patterns[:, i] * state[i]
            rise = sum(
                F(float(r + p)) - F(float(r - p))
                for r, p in zip(rest, patterns[:, i], strict=True)
            )
            if rise:
                state[i] = math.copysign(1, rise)
    return (patterns @ state).max() / len(state)


@pytest.mark.parametrize("column, rectified", [(0, False), (1, True)])
def test_overlaps_are_those_of_the_literal_update(column, rectified):
    """Shares of perfect recall agree within five standard errors."""
    n_states = 200
    ax = figure_4(20, 40, [3], n_states).axes[column]
    (stairs,) = ax.patches
    shares = stairs.get_data().values
    assert_allclose(shares.sum(), 1)
    rng = np.random.default_rng(1)
    patterns = rng.choice([-1, 1], (40, 20))
    found = [
        recalled(patterns, rng.choice([-1.0, 1.0], 20), 3, rectified) == 1
        for _ in range(n_states)
    ]
    assert abs(shares[-1] - np.mean(found)) < 0.25


def test_points_are_near_the_papers_equation():
    ax = figure_5([40, 60], n_states=100).axes[0]
    polynomial, rectified, theory = (line.get_ydata() for line in ax.lines)
    expected = [N**2 / (2 * 3 * math.log(N)) for N in (40, 60)]
    assert_allclose(theory, expected)
    assert_allclose(polynomial, theory, rtol=0.6)
    assert (rectified > polynomial).all()


@pytest.mark.parametrize("name", ["n_neurons", "n_memories", "n_states"])
def test_counts_are_checked(name):
    with pytest.raises(ValueError, match=name):
        figure_4(**{name: 0})


@pytest.mark.parametrize("sizes", [(), (8, 1), (8.5,), 8, (0,)])
def test_lists_are_checked_by_name(sizes):
    with pytest.raises(ValueError, match="sizes"):
        figure_5(sizes)
    for draw, powers in (table_1, []), (table_1, 3), (figure_4, 3):
        with pytest.raises(ValueError, match="powers"):
            draw(powers=powers)
    for model in DenseAssociativeMemoryClassifier(), make_pipeline(StandardScaler()):
        with pytest.raises(TypeError, match="classifiers"):
            figure_2(model, [[0.0]])
    assert not plt.get_fignums()


def test_an_energy_without_a_name_is_named_by_its_type(digits):
    X, _, y, _ = digits
    clf = DenseAssociativeMemoryClassifier(
        5, energy=literal.Quartic(), max_iter=1, random_state=0
    )
    assert figure_2([clf.fit(X, y)], X).axes[0].get_title() == "Quartic"


def test_xor_is_solved_by_odd_powers_and_by_rectified_ones():
    texts = [text.get_text() for text in table_1(range(1, 7)).axes[0].texts]
    polynomial, rectified = texts[:6], texts[6:]
    assert [text != "no" for text in polynomial] == [
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    assert [text != "no" for text in rectified] == [False] + [True] * 5
    # Overlaps with the stored rows: 3, -1, -1, -1 if right, and -3, 1, 1, 1 if wrong.
    assert polynomial[2] == f"{((27 - 3) - (3 - 27)) / 27:.2f}"


def test_matplotlib_is_only_needed_to_draw():
    code = """
import sys
sys.modules["matplotlib"] = None
from skdam.figures import figure_3
try:
    figure_3()
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "figure_3 requires matplotlib" in done.stdout


@pytest.mark.parametrize(
    "draw, named",
    [
        (lambda: figure_1([1]), "'runs'"),
        (lambda: figure_2(DenseAssociativeMemoryClassifier()), "'classif"),
        (lambda: figure_4(powers=3), "'powers'"),
        (lambda: figure_5(40), "'sizes'"),
        (lambda: figure_5([]), "sizes"),
        (lambda: figure_5(power="3"), "'power'"),
        (lambda: table_1(3), "'powers'"),
        (lambda: table_1([]), "powers must hold"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw, named):
    with pytest.raises(ValueError, match=named):
        draw()
    assert not plt.get_fignums()


def test_where_to_draw_is_checked_first():
    for draw in (figure_1, figure_5, table_1):
        for wrong in (3, "top", plt, np.ones(2), [None]):
            with pytest.raises(TypeError, match=r"^ax must be matplotlib Axes or None"):
                draw(ax=wrong)
    for draw in (figure_2, figure_3, figure_4):
        for wrong in (3, "top", plt, np.ones(2), [None]):
            with pytest.raises(TypeError, match=r"^fig must be a matplotlib Figure"):
                draw(fig=wrong)
    assert not plt.get_fignums()


@pytest.mark.filterwarnings("error")
def test_the_networks_of_figure_1_all_learn():
    lines = figure_1().axes[0].lines
    errors = [line.get_ydata()[-1] for line in lines if len(line.get_ydata()) == 60]
    assert len(errors) >= 6
    assert max(errors) < 5


@pytest.mark.parametrize("factor", [1 / 3, 3])
def test_half_of_the_states_find_a_memory_at_each_point(factor, monkeypatch):
    """The bisection finds a threshold that is known."""

    def overlaps(n_neurons, n_memories, power, energy, n_states):
        half = factor * n_neurons**2 / (6 * math.log(n_neurons))
        found = n_states * (0.6 if n_memories < half else 0.4)
        return np.where(np.arange(n_states) < found, 1, 0.9)

    monkeypatch.setattr("skdam.figures._recalled_overlaps", overlaps)
    polynomial, rectified, theory = figure_5([200, 400]).axes[0].lines
    for line in (polynomial, rectified):
        assert_allclose(line.get_ydata(), factor * theory.get_ydata(), rtol=0.1)


def test_names_are_at_the_height_of_the_ends_of_curves():
    ax = figure_1({2: [run(0.5, 0.1), run(0.5, 0.3)], 3: [run(0.5, 0.01)]}).axes[0]
    to_data = (ax.transAxes - ax.transData).transform
    ends = {t.get_text(): to_data(t.get_position())[1] for t in ax.texts}
    assert_allclose([ends["n = 2"], ends["n = 3"]], [20, 1], rtol=1e-6)
