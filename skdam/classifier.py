"""Dense associative memory as a scikit-learn classifier."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from array_api_compat import is_cupy_array
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from . import _backends
from ._callbacks import CallbackSupportMixin, FitCallbacks
from ._checkpoint import FitFile, checkpoint_of, identify
from ._devices import Device, check_same_device, compute_device, n_stored, to_numpy
from ._diagnosis import (
    describe_failure,
    judged_elsewhere,
    likeliest_cause,
    warn_if_batch_differs,
    warn_if_scales_differ,
)
from ._labels import on_device
from ._prediction import PredictionMixin
from ._resolve import Settings, resolve
from ._samples import Samples, describe
from ._state import PlainStateMixin
from ._training import TrainingState, initial_weights, train
from ._training_data import check_training_data, check_validation_data, set_aside
from ._validation import (
    as_python,
    check_init,
    in_type,
    python_parameters,
    restored_on_error,
)
from .energies import ENERGY_CONSTRAINT, Energy, get_energy
from .network import Network

__all__ = ["DenseAssociativeMemoryClassifier"]

AUTO = StrOptions({"auto"})
COUNT = Interval(Integral, 1, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
SHARE = Interval(Real, 0, 1, closed="left")

EARLY, LONG = 20, 5
"""A training of at least LONG times EARLY epochs is looked at after EARLY of them, and
warns if the network has learned nothing yet."""


class DenseAssociativeMemoryClassifier(
    PredictionMixin,
    PlainStateMixin,
    CallbackSupportMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """Dense associative memory classifier.

    A network of visible neurons, one for each feature, and one classification neuron
    for each class, with an energy ``E = -sum_mu F(xi^mu . sigma)`` over K memories
    xi^mu. To classify a sample, the visible neurons are clamped to it and the
    classification neurons, which start at -1, are updated; the class is the neuron with
    the largest state. With several labels a sample there is a neuron for each label,
    which the sample has if the state is above 0. The memories are learned by gradient
    descent on the classification error [1]_.

    Read more in the user guide of the documentation.

    Parameters
    ----------
    n_memories : int or "auto", default="auto"
        Number of memories K. "auto" is a thirtieth of the number of samples, at least
        100 and at most 2000, and at least 10 for each class up to 100 classes; where
        ``init`` is an array it is the number of its rows.

    power : float, default=2
        Power n of the interaction vertex, for the polynomial energies; at least 1.
        Small powers learn features, large ones (20 to 30) prototypes.

    energy : {"rectified_polynomial", "polynomial", "log_cosh", "softplus", \
            "exponential"} or Energy, default="rectified_polynomial"
        Energy function F, or an object with the methods ``value`` (F), ``activation``
        (f = F') and ``slope`` (f'), as in :mod:`skdam.energies`.

    formulation : {"feedforward", "energy"}, default="feedforward"
        "energy" is the exact update of the associative memory, by differences of
        energy; "feedforward" is its dual, a network with one hidden layer of activation
        f, which is faster to train.

    temperature : "auto" or float, default="auto"
        Temperature T, in neurons: overlaps between memory and sample are divided by it
        (``beta = 1 / T^n``). The higher, the softer the classification units. "auto"
        follows from the power, the number of memories, and the number, length and mean
        of the samples.

    temperature_ramp : (factor, n_epochs) or None, default=None
        Training starts at ``factor`` times the temperature, which is then lowered
        linearly over the first ``n_epochs`` epochs. A high start may help large powers.
        None: the temperature is constant.

    loss : {"power", "log_loss"}, default="power"
        Objective: the sum of the classification errors to the power of
        ``2 * error_exponent``, or the cross-entropy of the softmax of the scores s;
        with several labels a sample, the sum of the cross-entropies of each label's
        probability, which is ``(1 + tanh(s)) / 2 = 1 / (1 + exp(-2 s))``.

    error_exponent : float, default=3
        m, at least 1, for ``loss="power"``. 1 is least squares; a larger m works on the
        samples that are barely right or wrong.

    learning_rate_init : float, default=0.02
        Largest change of a memory's component in one step, in the first epoch.

    learning_rate : {"linear", "exponential", "constant"}, default="linear"
        How the learning rate falls over ``max_iter`` epochs. The paper's schedule is
        "exponential".

    learning_rate_decay : float, default=0.02
        Learning rate of the last of ``max_iter`` epochs over that of the first, in
        (0, 1].

    momentum : float, default=0.9
        Decay p of the velocity, in [0, 1).

    batch_size : int or "auto", default="auto"
        Samples in a minibatch. "auto" is a thirtieth of the training set, at least 50
        and at most 500.

    max_iter : int or None, default=None
        Number of epochs. None is 30, or more where those take fewer than 300 steps.

    init : "auto", (mean, std) or array-like of shape (n_memories, n_features + \
            n_classes), default="auto"
        Mean and standard deviation of the normal distribution of the initial memories;
        or the initial memories, visible part before classification part, within
        [-1, 1]. "auto" is a mean of 0 and a standard deviation of 0.3, which falls with
        the root of the number of features above 200.

    shuffle : bool, default=True
        Whether to draw new minibatches in each epoch. False: consecutive rows.

    tol : float or None, default=1e-4
        Training stops when ``n_iter_no_change`` epochs in a row did not lower the loss
        by this share or, with ``early_stopping``, did not raise the validation score by
        this much. None: all epochs are run.

    early_stopping : bool, default=False
        Whether to stop when the score on validation data no longer rises, and to keep
        the memories of the best epoch.

    validation_fraction : float, default=0.1
        Share of the training data set aside for ``early_stopping``, where ``fit`` is
        given no validation data.

    n_iter_no_change : int, default=20
        Epochs to wait for an improvement of ``tol``.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; classes that a dict does not name have weight 1. It must
        be None with several labels a sample.

    warm_start : bool, default=False
        Whether ``fit`` continues from the memories of the previous call.

    random_state : int, RandomState instance or None, default=None
        Seed of the initial memories, the validation split, the order of the samples,
        and the noise.

    verbose : bool or int, default=False
        Whether to print the progress of each epoch.

    device : {"auto", "cpu", "cuda"} or str, default="auto"
        Where to compute on NumPy arrays, sparse matrices and data frames: "cpu", "cuda"
        (through CuPy; with several devices, fits take them in turn) or a device such as
        "cuda:1". "auto" is "cuda" where CuPy sees a device and the work is worth it.
        Under ``sklearn.config_context(array_api_dispatch=True)``, arrays of other
        namespaces are computed on where they are.

    gradient_tolerance : float, default=1e-3
        Samples of a minibatch whose gradient is below this share of the largest are not
        followed, which spares their backward products in large steps; 0 follows all.
        On large data 0.1 is worth a try: it is faster, and can be better.

    reinit_dead : "auto" or float, default="auto"
        Share of ``max_iter``, from the first epoch on, after each epoch of which dead
        memories are reinitialised: those that no sample activates, so that a rectified
        energy keeps them from learning. 0 is the rule of the paper, under which a third
        or more can be lost in the first steps. "auto" is 0.4, or 0 where
        ``input_noise="auto"`` is 0.

    intercept_scaling : "auto" or float, default="auto"
        State of one more visible neuron, the same for all samples, whose connections to
        the memories are their thresholds: without it, nothing depends on how far a
        sample is from the origin. "auto" is about as long as the samples are around
        their mean (the root of the features' summed variances), and less where they
        have much in common, as images with a background do; it is 0 where ``init`` is
        an array. 0 disables the neuron, as in the paper.

    input_dropout : float, default=0.0
        Share of the features that is set to 0 in training, at random and anew for each
        sample in each epoch, in [0, 1). The others are scaled up.

    input_noise : "auto" or float, default="auto"
        Standard deviation of the uniform noise that is added to the features in
        training, in units of their own, which is the root of their mean variance. On
        the CPU, zeros of a sparse matrix get none.
        "auto" is 0.15, or 0 where ``init`` is an array, with ``shuffle=False`` and in
        ``partial_fit``: there the published rule is followed.

    Attributes
    ----------
    network_ : Network
        The fitted network: memories, energy, temperature and loss. It does not change
        with the estimator's parameters.

    memories_ : ndarray of shape (n_memories, n_features)
        Visible part of the memories.

    recognition_connections_ : ndarray of shape (n_memories, n_classes)
        Classification part of the memories: a column for each class, or label.

    thresholds_ : ndarray of shape (n_memories,)
        Connections of the memories to the neuron of the intercept; 0 without one.

    intercept_scaling_ : float
        State of the neuron of the intercept; 0: there is none.

    n_memories_ : int
        Number of memories.

    temperature_ : float
        Temperature of the fitted network.

    classes_ : ndarray of shape (n_classes,)
        Class labels; the numbers of the columns, if y is an indicator matrix.

    multilabel_ : bool
        Whether a sample may have several labels: y is an indicator matrix.

    sparse_output_ : bool
        Whether ``predict`` returns a sparse indicator matrix, because y was one.

    n_outputs_ : int
        Number of outputs as MLPClassifier counts them: of labels or classes, but 1 for
        two classes.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit. Defined only when X has feature names that
        are all strings.

    n_iter_ : int
        Number of epochs trained.

    loss_curve_ : list of float
        Mean loss of each epoch, over its minibatches before their steps, with the noise
        and dropout of the training. The loss "power" is in units of
        ``4**error_exponent``, so that 1 is the largest error of one unit.

    validation_loss_curve_ : list of float or None
        Loss on the validation data after each epoch.

    validation_scores_ : list of float or None
        Accuracy on the validation data after each epoch; of several labels, all must be
        right.

    best_iter_ : int
        Epoch whose memories were kept, counted from 1.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : Multi-layer perceptron.

    Notes
    -----
    Features should be on one scale, as ``StandardScaler`` or ``MinMaxScaler((-1, 1))``
    leave them; which of the two matters little. ``fit`` and ``predict`` accept missing
    values (NaN): a neuron of unknown state, which contributes nothing to the overlaps.

    The memories have the precision of X where they are float32, and where a step takes
    fewer than 4 million multiplications, for which double costs nothing; otherwise they
    are float32.

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
        "n_memories": [COUNT, AUTO],
        "power": [Interval(Real, 1, None, closed="left")],
        "energy": ENERGY_CONSTRAINT,
        "formulation": [StrOptions({"feedforward", "energy"})],
        "temperature": [AUTO, POSITIVE],
        "temperature_ramp": [tuple, None],
        "loss": [StrOptions({"power", "log_loss"})],
        "error_exponent": [Interval(Real, 1, None, closed="left")],
        "learning_rate_init": [POSITIVE],
        "learning_rate": [StrOptions({"linear", "exponential", "constant"})],
        "learning_rate_decay": [Interval(Real, 0, 1, closed="right")],
        "momentum": [SHARE],
        "batch_size": [AUTO, COUNT],
        "max_iter": [COUNT, None],
        "init": [AUTO, tuple, "array-like"],
        "shuffle": ["boolean"],
        "tol": [NOT_NEGATIVE, None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [COUNT],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "device": [str],
        "gradient_tolerance": [SHARE],
        "reinit_dead": [Interval(Real, 0, 1, closed="both"), AUTO],
        "intercept_scaling": [NOT_NEGATIVE, AUTO],
        "input_dropout": [SHARE],
        "input_noise": [NOT_NEGATIVE, AUTO],
    }

    def __init__(
        self,
        n_memories: int | Literal["auto"] = "auto",
        *,
        power: float = 2,
        energy: Literal[
            "rectified_polynomial", "polynomial", "log_cosh", "softplus", "exponential"
        ]
        | Energy = "rectified_polynomial",
        formulation: Literal["feedforward", "energy"] = "feedforward",
        temperature: float | Literal["auto"] = "auto",
        temperature_ramp: tuple[float, int] | None = None,
        loss: Literal["power", "log_loss"] = "power",
        error_exponent: float = 3,
        learning_rate_init: float = 0.02,
        learning_rate: Literal["linear", "exponential", "constant"] = "linear",
        learning_rate_decay: float = 0.02,
        momentum: float = 0.9,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int | None = None,
        init: Literal["auto"] | tuple[float, float] | ArrayLike = "auto",
        shuffle: bool = True,
        tol: float | None = 1e-4,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        class_weight: dict[Any, Any] | Literal["balanced"] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
        device: str = "auto",
        gradient_tolerance: float = 1e-3,
        reinit_dead: float | Literal["auto"] = "auto",
        intercept_scaling: float | Literal["auto"] = "auto",
        input_dropout: float = 0.0,
        input_noise: float | Literal["auto"] = "auto",
    ) -> None:
        self.n_memories = n_memories
        self.power = power
        self.energy = energy
        self.formulation = formulation
        self.temperature = temperature
        self.temperature_ramp = temperature_ramp
        self.loss = loss
        self.error_exponent = error_exponent
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.learning_rate_decay = learning_rate_decay
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.init = init
        self.shuffle = shuffle
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.gradient_tolerance = gradient_tolerance
        self.reinit_dead = reinit_dead
        self.intercept_scaling = intercept_scaling
        self.input_dropout = input_dropout
        self.input_noise = input_noise

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Learn the memories.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_labels)
            Class labels; or an indicator matrix, with 1 for each label that a sample
            has, and 0. A single column is a vector of classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, not negative.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation data, scored after each epoch. With ``early_stopping`` they take
            the place of a share of X; without, all of ``max_iter`` epochs are run.
        y_val : {array-like, sparse matrix} of shape (n_val,) or (n_val, n_labels), \
                default=None
            Labels of the validation data.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the validation data. Loss and accuracy on validation data are
            weighted by sample weights, and not by class weights.

        Returns
        -------
        self : DenseAssociativeMemoryClassifier
            The fitted estimator. After Ctrl-C it holds the best memories so far; before
            the first epoch is complete, Ctrl-C leaves the estimator as it was.

        Raises
        ------
        ValueError
            If a parameter or an array is not usable, or a checkpoint is one of another
            fit; a fitted model stays as it was.
        """
        with restored_on_error(self), np.errstate(under="ignore"):
            return self._fit(
                X, y, sample_weight, validation=(X_val, y_val, sample_weight_val)
            )

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> Self:
        """Train for one epoch on some samples.

        The schedules go by the number of calls so far. With an integer
        ``random_state`` every call takes samples of the same number in the same order.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_labels)
            Class labels; or an indicator matrix, with 1 for each label that a sample
            has, and 0. A single column is a vector of classes.
        classes : array-like of shape (n_classes,), default=None
            All classes that will ever be seen; needed in the first call. With an
            indicator matrix, the numbers of its columns.
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
        with restored_on_error(self), np.errstate(under="ignore"):
            return self._fit(X, y, sample_weight, classes=classes, incremental=True)

    def _fit(
        self,
        X,
        y,
        sample_weight,
        *,
        validation=(None, None, None),
        classes=None,
        incremental=False,
    ):
        params = python_parameters(self)
        self._check_parameters(incremental)
        checkpoint = checkpoint_of(self)
        if checkpoint is not None and incremental:
            raise ValueError(
                "partial_fit does not support Checkpoint; pickle the estimator between "
                "two calls, which goes on exactly."
            )
        given = X, y, sample_weight
        previous = None
        if hasattr(self, "network_") and (incremental or self.warm_start):
            previous = self.network_
            method = "partial_fit" if incremental else "fit"
            check_same_device(X, previous.weights, f"{type(self).__name__}.{method}")
        home, device = Device.of(X), compute_device(self.device, X)
        samples, classes = check_training_data(
            self,
            X,
            y,
            sample_weight,
            classes=classes,
            incremental=incremental,
            previous=None if previous is None else to_numpy(self.classes_),
        )
        params["init"] = check_init(
            self.init, samples.X.shape[1], len(classes), self.n_memories
        )
        multilabel = samples.codes.ndim == 2
        validation = check_validation_data(
            self, *validation, classes=classes, multilabel=multilabel, home=home
        )
        file = None
        if checkpoint is not None:
            # Before anything is drawn.
            identity = identify(params, samples, classes, validation, previous)
            file = FitFile(checkpoint, identity)
        rng = check_random_state(self.random_state)
        if self.early_stopping and validation is None:
            fraction = float(self.validation_fraction)
            samples, validation = set_aside(samples, fraction, rng)
        statistics = describe(samples.X, samples.weights)
        if previous is None:
            warn_if_scales_differ(statistics, stacklevel=4)
        n_seen = len(samples)
        # A network that from_mlp made has seen no samples.
        earlier = getattr(self, "_statistics", None)
        if incremental and previous is not None and earlier is not None:
            warn_if_batch_differs(statistics, earlier, stacklevel=4)
            statistics = earlier.averaged(statistics, self._n_seen, n_seen)
            n_seen += self._n_seen
        self._statistics, self._n_seen = statistics, n_seen
        settings = resolve(
            params,
            statistics,
            n_samples=len(samples),
            n_classes=len(classes),
            single="float32" in str(samples.X.dtype) or not device.has_double,
            seed=self._seed(),
            multilabel=multilabel,
            incremental=incremental,
            previous=previous,
        )
        flop = 4 * n_stored(samples.X) * settings.n_memories
        device = compute_device(self.device, X, flop * settings.max_iter)
        dtype = getattr(home.xp, settings.dtype)
        samples.X = in_type(samples.X, dtype, "X")
        if validation is not None:
            validation.X = in_type(validation.X, dtype, "X_val")
        self.classes_ = on_device(classes, home)
        self.sparse_output_ = sparse.issparse(y)
        with device.session("Lower n_memories or batch_size."):
            run = self._start(
                params["init"], settings, len(classes), rng, previous, incremental
            )
            run.network = run.network.at(device, copy=True)
            if file is not None:
                file.restore(run, settings, rng)
                if self.verbose and run.n_epochs:
                    print(f"Restored from {file.path} after epoch {run.n_epochs}")
            self._train(run, samples, validation, settings, given, home, rng, file)
        self._run = run if incremental else None
        if run.interrupted:
            warnings.warn(
                f"Training was interrupted after {self.n_iter_} epochs; the best "
                "memories so far are kept.",
                stacklevel=4,
            )
        if not incremental:
            self._diagnose(run, self._scores, samples, settings, stacklevel=5)
        return self

    def _start(
        self,
        init,
        settings: Settings,
        n_classes: int,
        rng,
        previous: Network | None,
        incremental: bool,
    ) -> TrainingState:
        """Return the run to train: from new memories, or on from previous ones."""
        if previous is None:
            shape = self.n_features_in_, int(bool(settings.intercept)), n_classes
            return TrainingState(
                Network(
                    initial_weights(init, shape, settings, rng),
                    self.n_features_in_,
                    settings.intercept,
                    settings.update(settings.temperature),
                    settings.loss,
                    settings.input_scale,
                    settings.confidence,
                )
            )
        network = replace(
            previous,
            intercept=settings.intercept,
            loss=settings.loss,
            input_scale=settings.input_scale,
            confidence=settings.confidence,
        )
        if not incremental:
            return TrainingState(network)
        run = getattr(self, "_run", None)
        if run is None:
            n_epochs, curve, velocity = self.n_iter_, self.loss_curve_, None
        else:
            n_epochs, curve, velocity = run.n_epochs, run.loss_curve, run.velocity
        return TrainingState(
            network, velocity, n_epochs, n_epochs, loss_curve=list(curve)
        )

    def _train(
        self,
        run: TrainingState,
        samples: Samples,
        validation: Samples | None,
        settings: Settings,
        given: tuple,
        home: Device,
        rng,
        file: FitFile | None,
    ) -> None:
        """Train where the network is, and leave the results at home."""
        callbacks = FitCallbacks(self, settings.max_iter)
        device = Device.of_array(run.network.weights)
        early = settings.ramp.n_epochs + EARLY
        looks_early = settings.max_iter >= LONG * early

        def on_epoch(run):
            if self.verbose:
                self._print_progress(run)
            if looks_early and run.n_epochs == early:
                scores_of = run.network.scores
                self._diagnose(run, scores_of, samples, settings, stacklevel=8)
            if callbacks.are_active:
                self._keep(run, home)
            return callbacks.end_epoch()

        working_bytes = _backends.working_bytes(run.network, settings.batch_size)
        with ExitStack() as held:
            placed = Samples(
                held.enter_context(device.resident(samples.X, working_bytes)),
                device.asarray(samples.codes, "int32"),
                None if samples.weights is None else device.asarray(samples.weights),
            )
            if settings.noise or settings.dropout:
                placed.hashes = samples.hashes
            if validation is not None:
                X_val = held.enter_context(device.resident(validation.X, working_bytes))
                validation = Samples(X_val, validation.codes, validation.weights)
            callbacks.begin_fit(*given, n_done=run.n_epochs - run.n_earlier)
            train(
                run,
                placed,
                settings,
                validation=validation,
                rng=rng if self.shuffle else None,
                before_epoch=callbacks.begin_epoch,
                on_epoch=on_epoch,
                file=file,
            )
        if validation is not None and self.early_stopping:
            run.network = run.network.calibrated(
                validation.X, validation.codes, validation.weights
            )
        self._keep(run, home)
        callbacks.end_fit()

    def _keep(self, run: TrainingState, home: Device) -> None:
        """Store what has been fitted so far."""
        self.network_ = run.network.at(home)
        self.n_iter_ = run.n_epochs
        self.best_iter_ = run.best_epoch or run.n_epochs
        self.loss_curve_ = run.loss_curve
        self.validation_loss_curve_ = run.validation_loss_curve or None
        self.validation_scores_ = run.validation_scores or None

    def _diagnose(
        self,
        run: TrainingState,
        scores_of: Callable,
        samples: Samples,
        settings: Settings,
        stacklevel: int,
    ) -> None:
        """Warn if the network has failed to learn."""
        if judged_elsewhere.get():
            return
        network, classes = run.network, to_numpy(self.classes_)
        trouble = describe_failure(scores_of, samples, network, classes)
        if trouble:
            auto = settings.auto_temperature
            cause = likeliest_cause(self._statistics, network.temperature / auto)
            warnings.warn(
                f"After {run.n_epochs} epochs {trouble}. Most likely {cause}. Change "
                f"temperature, now {network.temperature:.4g} ('auto' would be "
                f"{auto:.4g}; too low saturates or silences the units, too high only "
                "silences them), begin at a higher one with temperature_ramp, lower "
                "learning_rate_init, or train for more epochs.",
                ConvergenceWarning,
                stacklevel=stacklevel,
            )

    def _print_progress(self, run: TrainingState) -> None:
        line = f"Epoch {run.n_epochs}, loss = {run.loss_curve[-1]:.6g}"
        line += f", training score = {run.accuracy:.6f}"
        if run.validation_scores:
            line += f", validation score = {run.validation_scores[-1]:.6f}"
        print(line)

    def _seed(self) -> int:
        """Return a seed that fit and partial_fit have in common."""
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _check_parameters(self, incremental: bool) -> None:
        """Check what the constraints of single parameters cannot."""
        get_energy(self.energy, self.power)
        ramp = self.temperature_ramp
        if ramp is not None and not (
            len(ramp) == 2
            and all(isinstance(x, Real) for x in ramp)
            and 0 < ramp[0] < np.inf
            and 0 <= ramp[1] < np.inf
            and ramp[1] == int(ramp[1])
        ):
            raise ValueError(
                f"temperature_ramp={as_python(ramp)!r} must be None or a tuple of a "
                "positive factor and a number of epochs."
            )
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True.")
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "partial_fit does not support class_weight='balanced', which needs all "
                "labels at once; pass the weights as a dict."
            )

    def __getstate__(self):
        state = super().__getstate__()
        if is_cupy_array(state.get("classes_")):
            # Without a GPU the model can be read again.
            state["classes_"] = to_numpy(self.classes_)
        return state

    def __setstate__(self, state):
        if "revival" in state:
            raise ValueError(
                "The model was pickled by skdam 0.1, which this version does not read; "
                "fit it again."
            )
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.array_api_support = True
        tags.classifier_tags.multi_label = True
        return tags
