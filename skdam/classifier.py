"""Dense associative memory as a scikit-learn classifier."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from numbers import Integral, Real
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_cupy_array
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .callbacks import CallbackSupportMixin, FitCallbacks
from .checks import (
    check_classes,
    check_memories_init,
    check_samples,
    check_validation_data,
    check_weights,
    decode,
    encode,
    in_type,
    placed,
    restored_on_error,
    warn_if_scales_differ,
)
from .collapse import describe_collapse
from .devices import (
    Place,
    check_device,
    check_same_place,
    choose,
    take,
    to_numpy,
)
from .energies import RectifiedPolynomial, get_energy
from .formulations import EnergyDifference, Formulation, get_formulation
from .kernels import kernel_for
from .kernels.cues import sample_keys
from .objectives import get_objective, log_softmax
from .prediction import (
    SAMPLES_AT_ONCE,
    energies,
    mean_loss_and_accuracy,
    scores_by_batch,
)
from .revival import Revival
from .temperature import (
    SampleSizes,
    auto_bias,
    auto_temperature,
    root_mean_square,
    sample_sizes,
)
from .training import (
    Descent,
    LearningRate,
    Patience,
    State,
    TemperatureRamp,
    train,
)

__all__ = ["DenseAssociativeMemoryClassifier"]

SMALL_STEP = 2**22
"""Multiplications in a step below which double precision costs nothing."""

LEAST_BATCH = 50
"""Samples in a minibatch by default, at least."""

LEAST_SAMPLES = 100
"""Samples below which the temperature does not follow their number."""

REVIVAL = 0.4
"""Share of the epochs in which silent memories are drawn anew by default."""

CUE_NOISE = 0.15
"""Noise on the features by default, in units of their standard deviation."""

CONNECTIONS = "memories_", "bias_connections_", "recognition_connections_"


class DenseAssociativeMemoryClassifier(
    CallbackSupportMixin, ClassifierMixin, BaseEstimator
):
    """Dense associative memory classifier.

    A network of visible neurons, one for each feature, and one classification neuron
    for each class, with an energy ``E = -sum_mu F(xi^mu . sigma)`` over K memories
    xi^mu. To classify a sample, the visible neurons are clamped to it and the
    classification neurons, which start at -1, are updated; the class is the neuron with
    the largest state. The memories are learned by gradient descent on the
    classification error [1]_.

    Read more in the user guide of the documentation.

    Parameters
    ----------
    n_memories : int or "auto", default="auto"
        Number of memories K. "auto" is a thirtieth of the number of samples, at least
        200 and at most 2000, and at least 10 for each class; with ``memories_init`` it
        is the number of those.

    power : float, default=2
        Power n of the interaction vertex, for the polynomial energies; at least 1.
        Small powers learn features, large ones (20 to 30) prototypes.

    energy : {"rectified_polynomial", "polynomial", "log_cosh", "softplus", \
            "exponential"} or Energy, default="rectified_polynomial"
        Energy function F, or an object with the methods ``value`` (F), ``activation``
        (f = F') and ``slope`` (f'), as in :mod:`skdam.energies`.

    formulation : {"feedforward", "energy"}, default="feedforward"
        "energy" is the exact update of the associative memory, by differences of
        energy; "feedforward" its dual, a network with one hidden layer of activation
        f, faster to train.

    temperature : "auto" or float, default="auto"
        Temperature T, in neurons: overlaps between memory and sample are divided by it
        (``beta = 1 / T^n``). The higher, the softer the classification units. "auto"
        follows from the power, the number of memories, and the number and size of the
        samples.

    initial_temperature : float or None, default=None
        Temperature to begin with, lowered linearly to ``temperature``; None: the same.
        A high start helps large powers.

    temperature_ramp : int, default=10
        Number of epochs over which the temperature is lowered, where
        ``initial_temperature`` is given.

    loss : {"power", "log_loss"}, default="power"
        Objective: the sum of the classification errors to the power of
        ``2 * error_exponent``, or the cross-entropy of the softmax of the scores.

    error_exponent : float, default=3
        m, at least 1, for ``loss="power"``. 1 is least squares; a larger m works on the
        samples that are barely right or wrong.

    learning_rate_init : float, default=0.01
        Largest change of a memory's element in one step, at the beginning.

    learning_rate : {"linear", "exponential", "constant"}, default="linear"
        Schedule: in epoch e, counted from 0, the learning rate is
        ``learning_rate_init * learning_rate_decay**e`` with "exponential"; with
        "linear" it falls to ``learning_rate_init * learning_rate_decay`` in the last
        of ``max_iter`` epochs.

    learning_rate_decay : float or None, default=None
        Factor of the schedule, in (0, 1]. None is 0.02 for "linear" and 0.998 for
        "exponential".

    momentum : float, default=0.9
        Decay p of the velocity, in [0, 1).

    batch_size : int or "auto", default="auto"
        Samples in a minibatch. "auto" is a thirtieth of the training set, at least 50
        and at most 500.

    max_iter : int, default=60
        Number of epochs.

    init_mean, init_std : float, default=0.0 and 0.3
        Mean and standard deviation of the normal distribution of the first memories.

    memories_init : array-like of shape (n_memories, n_features + n_classes) or None, \
            default=None
        First memories, visible part before classification part, within [-1, 1].

    shuffle : bool, default=True
        Whether to draw the minibatches anew in each epoch. False: consecutive rows.

    tol : float or None, default=1e-4
        Training stops when ``n_iter_no_change`` epochs in a row did not lower the loss
        by this share or, with ``early_stopping``, did not raise the validation score by
        this much. None: never.

    early_stopping : bool, default=False
        Whether to stop when the score on validation data no longer rises, and to keep
        the memories of the best epoch.

    validation_fraction : float, default=0.1
        Share of the training data set aside for ``early_stopping``, where ``fit`` is
        given no validation data.

    n_iter_no_change : int, default=20
        Epochs to wait for an improvement of ``tol``.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.

    warm_start : bool, default=False
        Whether ``fit`` goes on from the memories of the previous call.

    random_state : int, RandomState instance or None, default=None
        Seed of the first memories, the validation split and the order of the samples.

    verbose : bool or int, default=False
        Whether to print the progress of each epoch.

    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of the memories and all products. "auto" is double where a step takes
        fewer than 4 million multiplications, which then cost nothing, else single.

    device : {"auto", "cpu", "cuda"} or str, default="auto"
        Where to compute on NumPy arrays, sparse matrices and data frames: "cpu", "cuda"
        (through CuPy; with several devices, fits take them in turn) or a device such as
        "cuda:1". "auto" is "cuda" where CuPy sees a device. Under
        ``sklearn.config_context(array_api_dispatch=True)``, arrays of other namespaces
        are worked on where they are.

    matmul_precision : {"full", "tf32"}, default="full"
        Precision of matrix products in single precision on a GPU: "tf32" rounds their
        factors to 10 bits of mantissa, for speed.

    gradient_tolerance : float, default=1e-3
        Samples of a minibatch whose gradient is below this share of the largest are
        left out, which on a CPU spares their backward products; 0 is exact. On large
        data 0.1 is worth a try: it is faster, and can be better.

    n_updates : int, default=1
        Updates of the classification units when predicting, for
        ``formulation="energy"``: the first from -1, later ones unit after unit.

    revival : "auto" or float, default="auto"
        Share of ``max_iter``, from the first epoch on, after each epoch of which the
        silent memories are drawn anew: those that a rectified energy keeps from
        responding to any sample, and so from learning. 0 is the rule of the paper,
        under which a third or more can be lost in the first steps. "auto" is 0.4, or 0
        in the cases of ``cue_noise``.

    revival_std : float, default=0.3
        Standard deviation of memories that are drawn anew.

    bias : "auto" or float, default="auto"
        State of one more visible neuron, the same for all samples, whose connections to
        the memories are their thresholds: without it, nothing depends on how far a
        sample is from the origin. "auto" is about as long as the samples are around
        their mean (the root of the features' summed variances), and less where they
        have much in common, as images with a background do; with ``memories_init``,
        which does not say where thresholds start, it is 0. That is no such neuron, as
        in the paper.

    cue_masking : float, default=0.0
        Share of the features that is hidden in training, at random and anew for each
        sample in each epoch, so that the memories learn to complete what they are
        shown. A hidden feature contributes nothing to the overlaps.

    cue_noise : "auto" or float, default="auto"
        Standard deviation of the noise on the features in training, evenly distributed,
        in units of their own, which is the root of their mean variance. "auto" is 0.15,
        or 0 with ``memories_init``, with ``shuffle=False`` and in ``partial_fit``,
        where the published rule is followed on the samples as they come.

    Attributes
    ----------
    memories_ : ndarray of shape (n_memories, n_features)
        Visible part of the memories.

    recognition_connections_ : ndarray of shape (n_memories, n_classes)
        Classification part of the memories.

    bias_connections_ : ndarray of shape (n_memories,)
        Elements of the memories at the bias neuron; 0 without one.

    bias_ : float
        State of the bias neuron; 0: there is none.

    n_memories_ : int
        Number of memories.

    temperature_ : float
        Temperature of the fitted network.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where X had such that are all strings.

    n_iter_ : int
        Number of epochs trained.

    loss_curve_ : list of float
        Mean loss of each epoch, over its minibatches before their steps, with the noise
        and masking of the training. The loss
        "power" is in units of ``4**error_exponent``, so that 1 is the largest error of
        one unit.

    validation_loss_curve_ : list of float or None
        Loss on the validation data after each epoch.

    validation_scores_ : list of float or None
        Accuracy on the validation data after each epoch.

    best_iter_ : int
        Number of epochs after which the memories were as they are kept.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : Multi-layer perceptron.

    Notes
    -----
    Features should be on one scale, as ``StandardScaler`` or ``MinMaxScaler((-1, 1))``
    leave them; which scale makes hardly a difference. NaN is a neuron of unknown state,
    which contributes nothing to the overlaps.

    References
    ----------
    .. [1] D. Krotov and J. J. Hopfield, "Dense Associative Memory for Pattern
       Recognition", Advances in Neural Information Processing Systems 29, 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = make_pipeline(
    ...     MinMaxScaler((-1, 1)), DenseAssociativeMemoryClassifier(random_state=0)
    ... ).fit(X_train, y_train)
    >>> clf.score(X_test, y_test) > 0.95
    True
    """

    _parameter_constraints: dict = {
        "n_memories": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "power": [Interval(Real, 1, None, closed="left")],
        "energy": [
            StrOptions(
                {
                    "rectified_polynomial",
                    "polynomial",
                    "log_cosh",
                    "softplus",
                    "exponential",
                }
            ),
            HasMethods(["value", "activation", "slope"]),
        ],
        "formulation": [StrOptions({"feedforward", "energy"})],
        "temperature": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "initial_temperature": [Interval(Real, 0, None, closed="neither"), None],
        "temperature_ramp": [Interval(Integral, 0, None, closed="left")],
        "loss": [StrOptions({"power", "log_loss"})],
        "error_exponent": [Interval(Real, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "learning_rate": [StrOptions({"linear", "exponential", "constant"})],
        "learning_rate_decay": [Interval(Real, 0, 1, closed="right"), None],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "init_mean": [Interval(Real, -1, 1, closed="both")],
        "init_std": [Interval(Real, 0, None, closed="left")],
        "memories_init": ["array-like", None],
        "shuffle": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "dtype": [StrOptions({"auto", "float32", "float64"})],
        "device": [str],
        "matmul_precision": [StrOptions({"full", "tf32"})],
        "gradient_tolerance": [Interval(Real, 0, 1, closed="left")],
        "n_updates": [Interval(Integral, 1, None, closed="left")],
        "revival": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "revival_std": [Interval(Real, 0, None, closed="neither")],
        "bias": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "cue_masking": [Interval(Real, 0, 1, closed="left")],
        "cue_noise": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
    }

    def __init__(
        self,
        n_memories="auto",
        *,
        power=2,
        energy="rectified_polynomial",
        formulation="feedforward",
        temperature="auto",
        initial_temperature=None,
        temperature_ramp=10,
        loss="power",
        error_exponent=3,
        learning_rate_init=0.01,
        learning_rate="linear",
        learning_rate_decay=None,
        momentum=0.9,
        batch_size="auto",
        max_iter=60,
        init_mean=0.0,
        init_std=0.3,
        memories_init=None,
        shuffle=True,
        tol=1e-4,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=20,
        class_weight=None,
        warm_start=False,
        random_state=None,
        verbose=False,
        dtype="auto",
        device="auto",
        matmul_precision="full",
        gradient_tolerance=1e-3,
        n_updates=1,
        revival="auto",
        revival_std=0.3,
        bias="auto",
        cue_masking=0.0,
        cue_noise="auto",
    ):
        self.n_memories = n_memories
        self.power = power
        self.energy = energy
        self.formulation = formulation
        self.temperature = temperature
        self.initial_temperature = initial_temperature
        self.temperature_ramp = temperature_ramp
        self.loss = loss
        self.error_exponent = error_exponent
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.learning_rate_decay = learning_rate_decay
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.init_mean = init_mean
        self.init_std = init_std
        self.memories_init = memories_init
        self.shuffle = shuffle
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.dtype = dtype
        self.device = device
        self.matmul_precision = matmul_precision
        self.gradient_tolerance = gradient_tolerance
        self.n_updates = n_updates
        self.revival = revival
        self.revival_std = revival_std
        self.bias = bias
        self.cue_masking = cue_masking
        self.cue_noise = cue_noise

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        """Learn the memories.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, not negative.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation data, scored after each epoch. With ``early_stopping`` they take
            the place of a share of X; without, all of ``max_iter`` epochs are run.
        y_val : array-like of shape (n_val,), default=None
            Labels of the validation data.

        Returns
        -------
        self : DenseAssociativeMemoryClassifier
            The fitted estimator. After Ctrl-C it holds the best memories so far.

        Raises
        ------
        ValueError
            If a parameter or an array is not usable; a fitted model stays as it was.
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight, X_val=X_val, y_val=y_val)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one epoch on some samples.

        The schedules go by the number of calls so far. With an integer
        ``random_state`` every call takes samples of the same number in the same order.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,), default=None
            All classes that will ever be seen; needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, not negative.

        Returns
        -------
        self : DenseAssociativeMemoryClassifier
            The estimator, one epoch further.

        Raises
        ------
        ValueError
            If ``classes`` is missing in the first call, changes in a later one, or y
            holds other labels; or if a parameter or an array is not usable.
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight, classes=classes, incremental=True)

    def _fit(
        self,
        X,
        y,
        sample_weight,
        *,
        X_val=None,
        y_val=None,
        classes=None,
        incremental=False,
    ):
        self._check_parameters(incremental)
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together.")
        onward = hasattr(self, "memories_") and (incremental or self.warm_start)
        callbacks = FitCallbacks(self, 1 if incremental else self.max_iter)
        given = X, y, sample_weight
        X, y = check_samples(self, X, y, reset=not onward)
        home = Place.of(X)
        work = choose(self.device, X)
        if onward:
            method = "partial_fit" if incremental else "fit"
            check_same_place(X, self.memories_, f"{type(self).__name__}.{method}")
        y = to_numpy(y)
        check_classification_targets(y)
        known = to_numpy(self.classes_) if onward else None
        classes = check_classes(y, classes, known, incremental)
        codes = encode(y, classes)
        weights = check_weights(
            to_numpy(sample_weight), self.class_weight, y, classes, codes
        )
        if weights is not None and not (weights > 0).all():
            used = np.flatnonzero(weights > 0)
            X, codes, weights = take(X, used), codes[used], weights[used]
        if not incremental and (codes == codes[0]).all():
            raise ValueError(
                "y must hold at least two classes with positive weight, but holds only "
                f"one class: {classes[codes[0]]!r}."
            )
        rng = check_random_state(self.random_state)
        validation = None
        if X_val is not None:
            X_val, codes_val = check_validation_data(
                X_val, y_val, self.n_features_in_, classes, home
            )
            validation = X_val, codes_val, None
        elif self.early_stopping:
            kept, held_out = train_test_split(
                np.arange(len(codes)),
                test_size=self.validation_fraction,
                stratify=codes,
                random_state=rng,
            )
            validation = take(X, held_out), codes[held_out], None
            if weights is not None:
                validation = *validation[:2], weights[held_out]
                weights = weights[kept]
            X, codes = take(X, kept), codes[kept]

        with work.session("Lower n_memories or batch_size."):
            data = X, codes, weights, validation
            state = self._train(
                data, given, classes, callbacks, (home, work), rng, incremental
            )
        self._state = state if incremental else None
        return self

    def _train(
        self,
        data: tuple,
        given: tuple,
        classes: np.ndarray,
        callbacks: FitCallbacks,
        places: tuple[Place, Place],
        rng: np.random.RandomState,
        incremental: bool,
    ) -> State:
        """Train on checked data, where the work is done; leave the memories at home."""
        X, codes, weights, validation = data
        home, work = places
        onward = hasattr(self, "memories_") and (incremental or self.warm_start)
        fresh = not (onward and incremental)
        self.n_memories_ = self._n_memories(X.shape[0], len(classes), onward)
        batch_size = self._batch_size(X.shape[0])
        dtype = self._dtype(X.shape[1] * batch_size, work, onward)
        X = in_type(X, getattr(home.xp, dtype), "X")
        if validation is not None:
            X_val = in_type(validation[0], getattr(home.xp, dtype), "X_val")
            validation = X_val, *validation[1:]
        sizes = sample_sizes(X, weights)
        if not onward:
            warn_if_scales_differ(sizes.variance, "X")
        bias = self._bias(sizes, onward)
        shape = X.shape[1], bool(bias), len(classes)
        state = self._start(shape, dtype, work, rng, onward, incremental)
        temperature = self.temperature
        if temperature == "auto" and fresh:
            temperature = self._auto_temperature(sizes, bias, weights)
        elif temperature == "auto":
            temperature = self.temperature_
        noise, revival = self._additions(sizes, incremental)
        descent = self._descent(float(temperature), batch_size, noise)

        self.classes_ = placed(classes, home)
        self.bias_ = bias
        if fresh:
            self.n_iter_ = 0
            self.loss_curve_ = []
            self.validation_loss_curve_ = None if validation is None else []
            self.validation_scores_ = None if validation is None else []
        largest_overlap = descent.reach(float(sizes.reach.max()), X.shape[1])
        largest_overlap += bias + 2 * len(classes)
        samples = sample_keys(X) if noise or self.cue_masking else None
        working_bytes = _working_bytes(state, batch_size)
        with ExitStack() as held:
            data = held.enter_context(work.hold(X, working_bytes))
            if validation is not None:
                X_val = held.enter_context(work.hold(validation[0], working_bytes))
                validation = X_val, *validation[1:]
            epochs = train(
                state,
                data,
                work.put(codes, "int32"),
                None if weights is None else work.put(weights),
                self._formulation,
                descent,
                epochs=range(self.n_iter_, self.n_iter_ + callbacks.n_epochs),
                reach=largest_overlap,
                precision=self.matmul_precision,
                bias=bias,
                revival=revival,
                samples=samples,
                rng=rng if self.shuffle else None,
            )
            callbacks.begin_fit(*given)
            self._follow(epochs, state, descent, validation, callbacks, home)
        if not incremental and self.n_iter_:
            self._warn_if_collapsed(X, codes, sizes, weights)
        callbacks.end_fit()
        return state

    def _additions(
        self, sizes: SampleSizes, incremental: bool
    ) -> tuple[float, Revival | None]:
        """Return what is added to the published rule: noise, and a revival.

        Nothing is, by default, where the start, the order or the epochs are the user's.
        """
        is_plain = self.memories_init is not None or not self.shuffle or incremental
        noise, revival = self.cue_noise, self.revival
        if noise == "auto":
            noise = 0 if is_plain else CUE_NOISE
        if revival == "auto":
            revival = 0 if is_plain else REVIVAL
        noise = float(noise * np.sqrt(sizes.variance.mean()))
        n_epochs = round(revival * self.max_iter)
        energy = get_energy(self.energy, self.power)
        if not n_epochs or not isinstance(energy, RectifiedPolynomial):
            return noise, None
        return noise, Revival(n_epochs, self.revival_std, self._seed())

    def _seed(self) -> int:
        """Return a seed that fit and partial_fit have in common."""
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _follow(
        self,
        epochs: Iterator,
        state: State,
        descent: Descent,
        validation: tuple | None,
        callbacks: FitCallbacks,
        home: Place,
    ) -> None:
        """Run and record the epochs, and keep the memories of the last or best one.

        The fitted attributes always hold a usable model, whatever ends the training.
        """
        self._keep(state, descent.ramp.at(self.n_iter_))
        patience = Patience(self.n_iter_no_change)
        best, best_score = None, -math.inf
        interrupted = False
        tol = 0 if self.tol is None else self.tol
        may_stop = self.tol is not None and (validation is None or self.early_stopping)
        try:
            for _ in range(callbacks.n_epochs):
                callbacks.begin_epoch()
                kernel, epoch = next(epochs)
                self.n_iter_ += 1
                self.loss_curve_.append(epoch.loss)
                self._keep(state, kernel.formulation.temperature)
                if validation is None:
                    patience.improves(epoch.loss, tol * abs(epoch.loss))
                else:
                    loss, score = mean_loss_and_accuracy(
                        kernel,
                        (state.memories, state.connections),
                        descent.objective,
                        *validation,
                    )
                    self.validation_loss_curve_.append(loss)
                    self.validation_scores_.append(score)
                    if patience.improves(-score, tol):
                        best = deepcopy(self._kept())
                        best_score = score
                if self.verbose:
                    self._print_progress(epoch.accuracy)
                if callbacks.are_active:
                    self._bring(home)
                stop = callbacks.end_epoch()
                if self.n_iter_ <= descent.ramp.n_epochs:
                    # The loss is not comparable from one temperature to the next.
                    patience.waited = 0
                if stop or (may_stop and patience.is_over):
                    break
        except KeyboardInterrupt:
            interrupted = True
            # Kernels that do not work in place leave new arrays behind.
            self._keep(state, self.temperature_)
            if self.validation_scores_ and self.validation_scores_[-1] > best_score:
                # It came before the best memories were copied.
                best = deepcopy(self._kept())
            warnings.warn(
                f"Training was interrupted after {self.n_iter_} epochs; the best "
                "memories so far are kept.",
                stacklevel=6,
            )
        finally:
            epochs.close()
        if best is not None and (self.early_stopping or interrupted):
            vars(self).update(best)
        self._bring(home)

    def _bring(self, place: Place) -> None:
        """Move the memories to a place, in arrays of their own."""
        for name in CONNECTIONS:
            setattr(self, name, place.put(getattr(self, name), copy=True))

    def _keep(self, state: State, temperature: float) -> None:
        n_features = self.n_features_in_
        self.memories_ = state.memories[:, :n_features]
        self.recognition_connections_ = state.connections
        if self.bias_:
            self.bias_connections_ = state.memories[:, n_features]
        else:
            xp = array_namespace(state.memories)
            self.bias_connections_ = xp.zeros_like(state.memories[:, 0])
        self.temperature_ = temperature
        self.best_iter_ = self.n_iter_

    def _kept(self) -> dict[str, Any]:
        """Return what an estimator needs to predict as if training stopped now."""
        names = *CONNECTIONS, "bias_", "temperature_", "best_iter_"
        return {name: getattr(self, name) for name in names}

    def _print_progress(self, accuracy: float) -> None:
        line = f"Epoch {self.n_iter_}, loss = {self.loss_curve_[-1]:.6g}"
        line += f", training score = {accuracy:.6f}"
        if self.validation_scores_:
            line += f", validation score = {self.validation_scores_[-1]:.6f}"
        print(line)

    def _formulation(self, temperature: float) -> Formulation:
        energy = get_energy(self.energy, self.power)
        return get_formulation(self.formulation, energy, temperature)

    def _descent(self, temperature: float, batch_size: int, noise: float) -> Descent:
        decay = self.learning_rate_decay
        if decay is None:
            decay = 0.998 if self.learning_rate == "exponential" else 0.02
        initial = self.initial_temperature
        return Descent(
            get_objective(self.loss, self.error_exponent),
            LearningRate(
                self.learning_rate_init, self.learning_rate, decay, self.max_iter
            ),
            TemperatureRamp(
                temperature if initial is None else float(initial),
                temperature,
                0 if initial is None else self.temperature_ramp,
            ),
            self.momentum,
            batch_size,
            self.gradient_tolerance,
            self.cue_masking,
            noise,
            self._seed() if self.cue_masking or noise else 0,
        )

    def _bias(self, sizes: SampleSizes, onward: bool) -> float:
        if onward and self.bias not in ("auto", self.bias_):
            raise ValueError(
                f"bias={self.bias}, but training is to go on with the bias of the "
                f"previous call, {self.bias_}."
            )
        if onward:
            return self.bias_
        if self.bias != "auto":
            return float(self.bias)
        if self.memories_init is not None:
            return 0.0
        return auto_bias(sizes)

    def _auto_temperature(self, sizes: SampleSizes, bias: float, weights=None) -> float:
        return auto_temperature(
            get_energy(self.energy, self.power),
            self.n_memories_,
            max(_effective_number(len(sizes.length), weights), LEAST_SAMPLES),
            math.hypot(root_mean_square(sizes.length, weights), bias),
            float(np.average(sizes.reach, weights=weights)) + bias,
        )

    def _steepness(self) -> float:
        """Return m of the objective; cross-entropy is as steep as least squares."""
        return self.error_exponent if self.loss == "power" else 1

    def _batch_size(self, n_samples: int) -> int:
        if self.batch_size != "auto":
            return min(self.batch_size, n_samples)
        # One whole minibatch is better than two that are nearly empty.
        least = n_samples if n_samples < 2 * LEAST_BATCH else LEAST_BATCH
        return max(least, min(500, -(-n_samples // 30)))

    def _n_memories(self, n_samples: int, n_classes: int, onward: bool) -> int:
        if self.n_memories != "auto":
            if onward and self.memories_.shape[0] != self.n_memories:
                raise ValueError(
                    f"n_memories={self.n_memories}, but training is to go on with the "
                    f"{self.memories_.shape[0]} memories of the previous call."
                )
            return self.n_memories
        if onward:
            return self.memories_.shape[0]
        if self.memories_init is not None:
            return len(self.memories_init)
        return max(200, min(2000, n_samples // 30), 10 * n_classes)

    def _dtype(self, batch_elements: int, place: Place, onward: bool) -> str:
        if onward:
            is_double = (
                self.memories_.dtype == Place.of_array(self.memories_).xp.float64
            )
        elif self.dtype == "auto":
            is_double = self.n_memories_ * batch_elements <= SMALL_STEP
        else:
            is_double = self.dtype == "float64"
        return "float64" if is_double and place.has_double else "float32"

    def _check_parameters(self, incremental: bool) -> None:
        """Check what the constraints of single parameters cannot."""
        get_energy(self.energy, self.power)
        check_device(self.device)
        if self.n_updates > 1 and self.formulation != "energy":
            raise ValueError(
                f"n_updates={self.n_updates} needs formulation='energy'; the "
                "feedforward formulation is a single update."
            )
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True.")
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "partial_fit does not support class_weight='balanced', which needs all "
                "labels at once; pass the weights as a dict."
            )

    def _start(
        self,
        shape: tuple[int, int, int],
        dtype: str,
        place: Place,
        rng,
        onward: bool,
        incremental: bool,
    ) -> State:
        """Return the memories to start from, in arrays of their own.

        ``shape`` are the numbers of features, of bias neurons, and of classes.
        """
        n_features, n_biases, n_classes = shape
        if onward:
            if incremental and self._state is not None:
                parts = vars(deepcopy(self._state)).values()
                return State(*(place.put(part) for part in parts))
            return State.at_rest(*deepcopy(self._network_at(place)))
        if self.memories_init is None:
            shape = self.n_memories_, sum(shape)
            memories = rng.normal(self.init_mean, self.init_std, shape).clip(-1, 1)
        else:
            shape = self.n_memories_, n_features + n_classes
            memories = check_memories_init(self.memories_init, shape)
            memories = np.insert(memories, [n_features] * n_biases, 0, axis=1)
        # Whole arrays of their own: order "C" alone may return a view.
        n_visible = n_features + n_biases
        return State.at_rest(
            place.put(np.array(memories[:, :n_visible], dtype, order="C")),
            place.put(np.array(memories[:, n_visible:], dtype, order="C")),
        )

    def _warn_if_collapsed(
        self, X, codes: np.ndarray, sizes: SampleSizes, weights: np.ndarray | None
    ) -> None:
        step = -(-len(codes) // SAMPLES_AT_ONCE)
        first_of_each_class = np.unique(codes, return_index=True)[1]
        rows = np.union1d(np.arange(0, len(codes), step), first_of_each_class)
        scores = to_numpy(self._scores(take(X, rows)))
        trouble = describe_collapse(
            scores, codes[rows], self._steepness(), to_numpy(self.classes_)
        )
        if trouble:
            auto = self._auto_temperature(sizes, self.bias_, weights)
            warnings.warn(
                f"After {self.n_iter_} epochs {trouble}. Change temperature, now "
                f"{self.temperature_:.4g} ('auto' would be {auto:.4g}; too low "
                "saturates or silences the units, too high only silences them), begin "
                "at a higher initial_temperature, or lower learning_rate_init. Centre "
                "features that are far from 0.",
                ConvergenceWarning,
                stacklevel=6,
            )

    def _scores(self, X) -> Any:
        """Return the arguments of the classification units' tanh, where X lives."""
        home, work = Place.of(X), choose(self.device, X)
        parts = []
        with work.session("Lower n_memories."):
            network = self._network_at(work)
            formulation = self._formulation(self.temperature_)
            with kernel_for(
                *network,
                formulation,
                SAMPLES_AT_ONCE,
                precision=self.matmul_precision,
                bias=self.bias_,
            ) as kernel:
                for _, overlaps, scores in scores_by_batch(kernel, X, *network):
                    if self.n_updates > 1:
                        scores = kernel.formulation.settle(
                            overlaps.T, network[1], self.n_updates
                        )
                    # A kernel may write the next batch's scores to the same memory.
                    parts.append(home.put(scores, copy=True))
        scores = home.xp.concat(parts, axis=0)
        if not home.xp.all(home.xp.isfinite(scores)):
            raise ValueError(
                "X holds numbers too large for the precision of the memories, "
                f"{network[0].dtype}: scores are not finite."
            )
        return scores

    def _network_at(self, place: Place) -> tuple[Any, Any]:
        """Return memories and recognition connections where they are needed.

        The memories include the bias neuron.
        """
        memories = place.put(self.memories_)
        if self.bias_:
            thresholds = place.put(self.bias_connections_)[:, None]
            memories = place.xp.concat([memories, thresholds], axis=1)
        return memories, place.put(self.recognition_connections_)

    def _checked(self, X, method: str) -> Any:
        """Return X, checked to suit the fitted network."""
        check_is_fitted(self)
        check_same_place(X, self.memories_, f"{type(self).__name__}.{method}")
        return check_samples(self, X, reset=False)

    def decision_function(self, X):
        """Return the scores of the classes: the arguments of their units' tanh.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            For two classes the score of the second less that of the first.
        """
        scores = self._scores(self._checked(X, "decision_function"))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X):
        """Return the class of the classification unit with the largest state.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        scores = self._scores(self._checked(X, "predict"))
        return decode(array_namespace(scores).argmax(scores, axis=1), self.classes_)

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        The loss "power" has its minimum where a unit's score is a known function of its
        class's probability, which is inverted here; over the classes the result is
        normalised. The loss "log_loss" has the softmax of the scores.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        scores = self._scores(self._checked(X, "predict_proba"))
        objective = get_objective(self.loss, self.error_exponent)
        log_likelihoods = objective.log_likelihoods(scores)
        return array_namespace(scores).exp(log_softmax(log_likelihoods))

    def compute_energy(self, X, y):
        """Return the energy of the network with samples and classes clamped.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            States of the visible neurons.
        y : array-like of shape (n_samples,)
            Labels: the classification neuron of the class is at +1, all others at -1.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``E = -sum_mu F(overlap / T)``, in double precision.
        """
        X = self._checked(X, "compute_energy")
        y = column_or_1d(to_numpy(y), warn=True)
        check_consistent_length(X, y)
        classes = to_numpy(self.classes_)
        states = 2 * np.eye(len(classes))[encode(y, classes)] - 1
        network = EnergyDifference(
            get_energy(self.energy, self.power), self.temperature_
        )
        memories, connections = self._network_at(Place.of(X))
        return energies(network, X, memories, connections, states, self.bias_)

    def __getstate__(self):
        """Return what is pickled: nothing that needs a GPU to be read again."""
        # It may be the estimator's own dictionary.
        state = dict(super().__getstate__())
        for name, value in state.items():
            if is_cupy_array(value):
                state[name] = to_numpy(value)
            elif isinstance(value, State) and is_cupy_array(value.memories):
                state[name] = State(*map(to_numpy, vars(value).values()))
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.array_api_support = True
        return tags


def _effective_number(n_samples: int, weights: np.ndarray | None) -> float:
    """Return how many samples of equal weight the weighted ones are worth."""
    if weights is None:
        return n_samples
    return weights.sum() ** 2 / (weights**2).sum()


def _working_bytes(state: State, batch_size: int) -> int:
    """Return about what a step holds beside the data."""
    n_memories, n_features = state.memories.shape
    batch_size = max(batch_size, SAMPLES_AT_ONCE)
    elements = 4 * n_memories * (n_features + batch_size) + batch_size * n_features
    return 8 * elements
