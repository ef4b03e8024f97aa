"""What networks are made of: numbers against loops, and what the Displays draw."""

import subprocess
import sys
import tracemalloc
import warnings

import literal
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skdam import DenseAssociativeMemoryClassifier
from skdam.inspection import (
    BlendDisplay,
    DecisiveMemoriesDisplay,
    LearningCurvesDisplay,
    MemoriesDisplay,
    RecognitionUnitsDisplay,
    WindowDisplay,
    contributions,
    decisive_memories,
    recognition_units,
)
from skdam.model_selection import HyperparameterWindow, TrainingRun
from skdam.tabular import BlendedClassifier

# Networks of a few epochs are looked at here, not good ones.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_FEATURES, CLASSES = 6, np.array(["a", "b", "c"])


@pytest.fixture(autouse=True)
def agg():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def network(memories=7, connections=None, **parameters):
    """Return a classifier with given or random memories, which fit does not change."""
    rng = np.random.default_rng(0)
    if isinstance(memories, int):
        memories = rng.uniform(-1, 1, (memories, N_FEATURES))
    if connections is None:
        connections = rng.uniform(-1, 1, (len(memories), len(CLASSES)))
    parameters = {
        "temperature": 2.0,
        "init": np.hstack([memories, connections]),
        "learning_rate_init": 1e-300,
        "max_iter": 1,
        "reinit_dead": 0,
        "intercept_scaling": 0,
        "random_state": 0,
    } | parameters
    clf = DenseAssociativeMemoryClassifier(**parameters)
    return clf.fit(samples(30), np.resize(CLASSES, 30))


def samples(n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, N_FEATURES))


def expected_contributions(clf, X, F):
    """Return contributions by loops, and then relative to the largest of the row."""
    visible = np.column_stack([clf.memories_, clf.thresholds_])
    rows = [
        literal.contributions(
            F,
            clf.temperature_,
            visible,
            clf.recognition_connections_,
            [*v, clf.intercept_scaling_],
            list(CLASSES).index(label),
        )
        for v, label in zip(X, clf.predict(X), strict=True)
    ]
    absolute = np.array(rows)
    largest = absolute.max(axis=1, keepdims=True)
    return absolute, np.where(largest > 0, absolute / np.abs(largest), 0)


# Numbers


def test_recognition_units_are_counted_by_memory():
    clf = network(4, [[1, -1, -1], [0.91, 0.95, -1], [0.9, 0.5, 0.89], [1, 1, 1]])
    assert recognition_units(clf).tolist() == [1, 2, 0, 3]
    assert recognition_units(clf, cutoff=0.6).tolist() == [1, 2, 2, 3]
    assert recognition_units(clf, cutoff=-1).tolist() == [1, 2, 3, 3]


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize(
    "energy, power, F",
    [
        ("rectified_polynomial", 2, literal.rectified_polynomial(2)),
        ("rectified_polynomial", 3.5, literal.rectified_polynomial(3.5)),
        ("rectified_polynomial", 30, literal.rectified_polynomial(30)),
        ("rectified_polynomial", 100, literal.rectified_polynomial(100)),
        ("polynomial", 3, literal.polynomial(3)),
        ("polynomial", 4, literal.polynomial(4)),
        ("log_cosh", 1, lambda x: np.log(np.cosh(x))),
        ("softplus", 1, lambda x: np.log(1 + np.exp(x))),
        ("exponential", 1, np.exp),
        (literal.Quartic(), 1, lambda x: x**4),
    ],
)
def test_contributions_are_the_loops(energy, power, F, formulation):
    clf = network(energy=energy, power=power, formulation=formulation)
    X = samples(20, seed=1)
    absolute, relative = expected_contributions(clf, X, F)
    assert_allclose(contributions(clf, X), relative, rtol=1e-9, atol=1e-300)
    energies = clf.compute_energy(X, clf.predict(X))
    assert_allclose(-absolute.sum(axis=1), energies, rtol=1e-9, atol=1e-300)
    for ratio in (0, 0.5, 0.9):
        counts = [sum(c > ratio for c in row) for row in relative]
        assert decisive_memories(clf, X, ratio).tolist() == counts


def test_contributions_include_the_thresholds():
    clf = network(intercept_scaling=1.0, learning_rate_init=0.1, power=30)
    assert clf.thresholds_.any()
    X = samples(20, seed=1)
    _, relative = expected_contributions(clf, X, literal.rectified_polynomial(30))
    assert_allclose(contributions(clf, X), relative, rtol=1e-9, atol=1e-300)


def test_fitted_networks_do_not_follow_set_params():
    clf, X = network(power=3), samples(20)
    expected = contributions(clf, X)
    clf.set_params(energy="softplus", power=9, temperature=7.0, intercept_scaling=1.0)
    assert_array_equal(contributions(clf, X), expected)


def test_the_predicted_class_counts_and_not_the_start():
    """A memory of the predicted class overlaps more than one of another class."""
    clf = network(np.ones((2, N_FEATURES)), [[1, -1, -1], [0.5, -1, -1]], power=30)
    X = np.ones((1, N_FEATURES))
    assert clf.predict(X) == ["a"]
    assert_allclose(contributions(clf, X), [[1, ((6 + 2.5) / (6 + 3)) ** 30]])
    assert decisive_memories(clf, X).tolist() == [1]


@pytest.mark.parametrize("power", [2, 30, 100, 1000])
def test_no_power_is_too_large(power):
    memories = np.ones(N_FEATURES) * [[1], [0.9999], [-1]]
    clf = network(memories, np.zeros((3, 3)), power=power)
    X = 1e4 * np.ones((2, N_FEATURES)) * [[1], [1e-10]]
    with np.errstate(all="ignore"):
        found = contributions(clf, X)
    assert_allclose(found, [[1, 0.9999**power, 0]] * 2, rtol=1e-9)


def test_exponentials_of_any_size():
    options = {"energy": "exponential", "temperature": 1.0}
    memories = np.ones(N_FEATURES) * [[1], [0.9999]]
    clf = network(memories, np.zeros((2, 3)), **options)
    X = np.ones(N_FEATURES) * [[1e4], [-1e4]]
    expected = [[1, np.exp(-6)], [np.exp(-6), 1]]
    with np.errstate(all="ignore"):
        assert_allclose(contributions(clf, X), expected, rtol=1e-9)


def test_no_memory_contributes():
    # The connections cancel in the state of the first class.
    clf = network(-np.ones((3, N_FEATURES)), [[1, 0.5, 0.5]] * 3)
    X = np.ones(N_FEATURES) * [[1], [0], [-1]]
    assert decisive_memories(clf, X).tolist() == [0, 0, 3]
    assert_array_equal(contributions(clf, X), np.repeat([[0.0], [0], [1]], 3, axis=1))


def test_a_users_energy_that_overflows_says_so():
    class Steep(literal.Quartic):
        def value(self, x):
            return np.exp(x**2)

    clf = network(energy=Steep())
    with np.errstate(over="ignore"), pytest.raises(OverflowError, match="Steep"):
        contributions(clf, 100 * samples(3))


def test_samples_come_in_blocks(monkeypatch):
    clf, X = network(), samples(25)
    whole, counts = contributions(clf, X), decisive_memories(clf, X)
    monkeypatch.setattr("skdam.network.ELEMENTS_AT_ONCE", 4 * 7)
    assert_allclose(contributions(clf, X), whole, rtol=1e-12)
    assert_array_equal(decisive_memories(clf, X), counts)


def test_memory_does_not_grow_with_the_samples(monkeypatch):
    monkeypatch.setattr("skdam.network.ELEMENTS_AT_ONCE", 2**18)
    clf, X = network(400), samples(20000)
    tracemalloc.start()
    try:
        decisive_memories(clf, X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All overlaps at once would take 64 MB.
    assert peak < 20000 * 400 * 8 / 2


def test_data_of_all_kinds():
    clf, X = network(), samples(20)
    expected = contributions(clf, X)
    assert_allclose(contributions(clf, sparse.csr_matrix(X)), expected)
    assert_allclose(contributions(clf, X.tolist()), expected)
    frame = pd.DataFrame(X, columns=list("uvwxyz"))
    clf.feature_names_in_ = np.array(list("uvwxyz"), dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(contributions(clf, frame), expected)


@pytest.mark.parametrize("name", ["array_api_strict", "array_api_compat.torch"])
def test_arrays_of_other_namespaces(name):
    xp = pytest.importorskip(name, exc_type=ImportError)
    X, y = samples(30), np.arange(30) % 3
    clf = DenseAssociativeMemoryClassifier(
        9, max_iter=5, random_state=0, temperature=3.0
    )
    here = clone(clf).fit(X, y)
    with config_context(array_api_dispatch=True):
        there = clf.fit(xp.asarray(X), xp.asarray(y))
        found = contributions(there, xp.asarray(X))
        units = recognition_units(there)
        display = MemoriesDisplay.from_estimator(there, image_shape=(2, 3))
    assert isinstance(found, np.ndarray)
    assert_allclose(found, contributions(here, X), rtol=1e-6, atol=1e-12)
    assert_array_equal(units, recognition_units(here))
    assert isinstance(display.images, np.ndarray)


def test_pipelines_are_looked_through():
    X, clf = samples(30), network()
    scale = MinMaxScaler((-1, 1)).fit(X)
    pca = PCA(N_FEATURES).fit(scale.transform(X))
    inner = Pipeline([("pca", pca), ("dam", clf)])
    nested = Pipeline([("scale", scale), ("inner", inner)])
    seen = pca.transform(scale.transform(X))
    assert_allclose(contributions(nested, X), contributions(clf, seen))
    assert_array_equal(decisive_memories(nested, X), decisive_memories(clf, seen))
    assert_array_equal(recognition_units(nested), recognition_units(clf))
    alone = Pipeline([("dam", clf)])
    assert_allclose(contributions(alone, X), contributions(clf, X))
    display = MemoriesDisplay.from_estimator(nested, image_shape=(2, 3), n_images=2)
    assert display.images.shape == (2, 2, 3)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda clf, X: recognition_units(clf, 1.5), r"cutoff=1.5 .* \[-1, 1\]"),
        (lambda clf, X: recognition_units(clf, "a"), "cutoff='a'"),
        (lambda clf, X: decisive_memories(clf, X, -0.1), r"ratio=-0.1 .* \[0, 1\)"),
        (lambda clf, X: decisive_memories(clf, X, 1), r"ratio=1 .* \[0, 1\)"),
        (lambda clf, X: contributions(clf, X[:, 1:]), "5 features"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(network(), samples(3))


def test_estimators_that_cannot_be_inspected():
    for function in (recognition_units, lambda clf: contributions(clf, samples(3))):
        with pytest.raises(NotFittedError):
            function(DenseAssociativeMemoryClassifier())
        with pytest.raises(TypeError, match="got LogisticRegression"):
            function(Pipeline([("clf", LogisticRegression())]))


@pytest.mark.parametrize("power", [2, 30])
def test_counts_on_trained_networks(power, digits):
    X, X_test, y, _ = digits
    clf = DenseAssociativeMemoryClassifier(100, power=power, random_state=0).fit(X, y)
    counts = decisive_memories(clf, X_test)
    shares = contributions(clf, X_test)
    assert_array_equal(counts, (shares > 0.9).sum(axis=1))
    assert counts.min() >= 1
    assert_allclose(shares.max(axis=1), 1)


# Pictures


def test_memories_are_tiles_of_one_image():
    clf = network(9)
    display = MemoriesDisplay.from_estimator(
        clf, memories=[4, 0, 8], image_shape=(2, 3), n_columns=2
    )
    assert_array_equal(display.images[1], clf.memories_[0].reshape(2, 3))
    drawn = display.im_.get_array()
    assert drawn.shape == (2 + 1 + 2, 3 + 1 + 3)
    assert_array_equal(drawn[:2, :3], clf.memories_[4].reshape(2, 3))
    assert_array_equal(drawn[:2, 4:], clf.memories_[0].reshape(2, 3))
    assert_array_equal(drawn[3:, :3], clf.memories_[8].reshape(2, 3))
    gaps = np.ones(drawn.shape, bool)
    gaps[:2, :3] = gaps[:2, 4:] = gaps[3:, :3] = False
    assert_array_equal(np.ma.getmaskarray(drawn), gaps)
    assert display.im_.get_clim() == (-1, 1)
    assert display.im_.get_cmap().name == "RdBu_r"


@pytest.mark.parametrize("n_images, shape", [(4, (5, 5)), (5, (5, 8)), (7, (8, 8))])
def test_a_mosaic_is_as_square_as_possible(n_images, shape):
    display = MemoriesDisplay(np.zeros((n_images, 2, 2))).plot()
    assert display.im_.get_array().shape == shape


def test_memories_are_chosen_at_random_and_each_once():
    clf = network(9)
    options = {"image_shape": (1, 6), "n_images": 5}
    drawn = [
        MemoriesDisplay.from_estimator(clf, random_state=seed, **options).images
        for seed in (0, 0, 1)
    ]
    assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert len(np.unique(drawn[0], axis=0)) == 5
    everything = MemoriesDisplay.from_estimator(clf, image_shape=(6, 1), n_images=99)
    assert len(everything.images) == 9


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "6 features do not fill a square"),
        ({"image_shape": (2, 2)}, r"image_shape=\(2, 2\).*6"),
        ({"image_shape": (6,)}, r"image_shape=\(6,\)"),
        ({"image_shape": (2, 3), "n_images": 0}, "n_images=0"),
        ({"image_shape": (2, 3), "memories": [0, 7]}, r"memories=\[0, 7\].* 0 to 6"),
        ({"image_shape": (2, 3), "memories": []}, r"memories=\[\]"),
    ],
)
def test_memories_that_cannot_be_drawn(options, message):
    with pytest.raises(ValueError, match=message):
        MemoriesDisplay.from_estimator(network(), **options)


def test_recognition_units_have_a_bar_for_each_count():
    clf = network(4, [[1, -1, -1], [1, 1, -1], [0.5, 0.5, 1], [-1, -1, -1]])
    _, ax = plt.subplots()
    display = RecognitionUnitsDisplay.from_estimator(clf, ax=ax, color="red")
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert [bar.get_height() for bar in display.bars_] == [1, 2, 1, 0]
    assert [bar.get_x() + bar.get_width() / 2 for bar in display.bars_] == [0, 1, 2, 3]
    assert display.bars_[0].get_facecolor() == (1, 0, 0, 1)
    loose = RecognitionUnitsDisplay.from_estimator(clf, cutoff=0.4)
    assert [bar.get_height() for bar in loose.bars_] == [1, 1, 1, 1]


def test_decisive_memories_share_the_last_bar():
    display = DecisiveMemoriesDisplay(np.array([1, 1, 3, 4, 5, 90])).plot(longest=3)
    assert [bar.get_height() for bar in display.bars_] == [2, 0, 1, 3]
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["1", "2", "3", ">3"]
    with_none = DecisiveMemoriesDisplay(np.array([0, 1])).plot(longest=2)
    assert [bar.get_height() for bar in with_none.bars_] == [1, 1, 0, 0]
    clf, X = network(), samples(40)
    display = DecisiveMemoriesDisplay.from_estimator(clf, X, ratio=0.2)
    assert_array_equal(display.counts, decisive_memories(clf, X, 0.2))
    assert sum(bar.get_height() for bar in display.bars_) == 40


def test_learning_curves_have_an_arrow_at_each_crossing():
    runs = [
        TrainingRun({}, np.array(errors), 0.02, None, 0.0)
        for errors in ([0.1, 0.03, 0.01], [0.1, 0.05, 0.02])
    ]
    _, ax = plt.subplots()
    display = LearningCurvesDisplay.from_runs(runs, ax=ax, label="n = 2", color="green")
    assert display.first_epochs == [3, None]
    assert_allclose(display.lines_[0].get_xydata(), [[1, 10], [2, 3], [3, 1]])
    assert_allclose(display.lines_[1].get_ydata(), [10, 5, 2])
    (arrow,) = display.arrows_
    assert arrow.xy == (3, 2)
    assert_allclose(display.threshold_line_.get_ydata(), 2)
    assert {line.get_color() for line in display.lines_} == {"green"}
    _, labels = ax.get_legend_handles_labels()
    assert labels == ["n = 2"]
    second = LearningCurvesDisplay.from_runs(runs, ax=ax)
    assert second.lines_[0].get_color() == second.lines_[1].get_color()


def test_learning_curves_need_one_threshold():
    one, other = (TrainingRun({}, np.ones(2), t, None, 0.0) for t in (0.02, 0.03))
    with pytest.raises(ValueError, match=r"\[0.02, 0.03\]"):
        LearningCurvesDisplay.from_runs([one, other])
    with pytest.raises(ValueError, match="none"):
        LearningCurvesDisplay.from_runs([])


def window_of(points, size):
    """Return a window of points (x, y, error), the best first."""
    candidates = [{"x": x, "y": y} for x, y, _ in points]
    scores = 1 - np.array([error for *_, error in points])
    return HyperparameterWindow(candidates, scores, size)


def test_window_over_a_grid_is_outlined():
    window = window_of(
        [(10, 1, 0.01), (10, 2, 0.02), (20, 1, 0.03), (20, 1, 0.05), (20, 2, 0.4)], 3
    )
    display = WindowDisplay.from_window(window, "x", "y")
    assert_allclose(display.mesh_.get_array().reshape(2, 2), [[1, 3], [2, 40]])
    assert display.points_ is None
    drawn = {
        frozenset(map(tuple, edge.tolist())) for edge in display.outline_.get_segments()
    }
    corners = [(0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 1), (0, 0)]
    edges = zip(corners[:-1], corners[1:], strict=True)
    assert drawn == {frozenset(edge) for edge in edges}
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["10", "20"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("x", "y")
    assert display.colorbar_.ax.get_ylabel() == "Validation error (%)"


def test_window_over_values_that_are_not_numbers():
    points = [(x, y, 0.1) for x in ("auto", 3) for y in (True, None)]
    display = WindowDisplay.from_window(window_of(points, 1), "x", "y")
    for ticks, texts in (
        (display.ax_.get_xticklabels(), {"auto", "3"}),
        (display.ax_.get_yticklabels(), {"True", "None"}),
    ):
        assert {label.get_text() for label in ticks} == texts


def test_window_over_scattered_candidates_is_ringed():
    window = window_of([(1.5, 3, 0.01), (2.5, 1, 0.02), (0.1, 2, 0.3)], 2)
    _, ax = plt.subplots()
    display = WindowDisplay.from_window(window, "x", "y", ax=ax, cmap="magma")
    assert display.mesh_ is None
    assert_allclose(display.points_.get_offsets(), [[1.5, 3], [2.5, 1], [0.1, 2]])
    assert_allclose(display.points_.get_array(), [1, 2, 30])
    assert_allclose(display.outline_.get_offsets(), [[1.5, 3], [2.5, 1]])
    assert display.points_.get_cmap().name == "magma"


@pytest.mark.parametrize(
    "candidates, message",
    [
        ([{"x": 1, "y": 2}, {"x": 1}], r"'y' must be .* got \{'x': 1\}"),
        ([{"x": 1, "y": np.eye(n)} for n in (2, 3)], "'y' has arrays as values"),
    ],
)
def test_window_needs_values_on_both_axes(candidates, message):
    window = HyperparameterWindow(candidates, np.ones(2), 2)
    with pytest.raises(ValueError, match=message):
        WindowDisplay.from_window(window, "x", "y")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: MemoriesDisplay.from_estimator(None),
        lambda: RecognitionUnitsDisplay.from_estimator(None),
        lambda: DecisiveMemoriesDisplay.from_estimator(None, None),
        lambda: LearningCurvesDisplay.from_runs([]),
        lambda: WindowDisplay.from_window(None, "x", "y"),
        lambda: MemoriesDisplay(np.zeros((1, 2, 2))).plot(),
    ],
)
def test_displays_say_that_they_need_matplotlib(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"Display\.\w+ requires matplotlib"):
        draw()


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: MemoriesDisplay.from_estimator(None, ax=ax),
        lambda ax: RecognitionUnitsDisplay.from_estimator(None, ax=ax),
        lambda ax: DecisiveMemoriesDisplay.from_estimator(None, None, ax=ax),
        lambda ax: LearningCurvesDisplay.from_runs([], ax=ax),
        lambda ax: WindowDisplay.from_window(None, "x", "y", ax=ax),
        lambda ax: BlendDisplay.from_estimator(None, ax=ax),
        lambda ax: MemoriesDisplay(np.zeros((1, 2, 2))).plot(ax),
        lambda ax: RecognitionUnitsDisplay(np.ones(3, int), 2).plot(ax),
    ],
)
def test_displays_check_first_where_to_draw(draw):
    for wrong in (3, plt.subplots(1, 2)[1], plt.figure()):
        with pytest.raises(TypeError, match=r"ax must be matplotlib Axes or None; got"):
            draw(wrong)


def test_matplotlib_is_imported_only_to_draw():
    code = "import sys, skdam.inspection; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_blend_is_drawn():
    X, y = load_iris(return_X_y=True)
    kinds = [("linear", LogisticRegression()), ("bayes", GaussianNB())]
    blend = BlendedClassifier(kinds, random_state=0)
    with pytest.raises(NotFittedError):
        BlendDisplay.from_estimator(blend)
    with pytest.raises(TypeError, match="must be a BlendedClassifier"):
        BlendDisplay.from_estimator(GaussianNB())
    clf, ax = Pipeline([("blend", blend.fit(X, y))]), plt.figure().subplots()
    drawn = BlendDisplay.from_estimator(clf, ax=ax, color="red")
    assert drawn.ax_ is ax and ax.yaxis_inverted()
    assert [bar.get_width() for bar in drawn.bars_] == [*blend.weights_.values()]
    assert drawn.bars_[0].get_facecolor() == (1, 0, 0, 1)
    losses = [f"log-loss {blend.left_out_loss_[name]:.3f}" for name, _ in kinds]
    assert [text.get_text() for text in ax.texts] == losses
