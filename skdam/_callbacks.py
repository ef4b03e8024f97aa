"""scikit-learn's callbacks, where it has them (from 1.9 on), and checkpoints."""

from __future__ import annotations

from copy import deepcopy

from ._checkpoint import Checkpoint

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:
    from sklearn.base import _clone_parametrized

    class CallbackSupportMixin:
        """Stands in for the mixin of scikit-learn 1.9: takes a checkpoint alone."""

        def set_callbacks(self, *callbacks):
            """Set the checkpoint of the estimator.

            Parameters
            ----------
            *callbacks : Checkpoint
                The checkpoint, or nothing. Other callbacks need scikit-learn 1.9.

            Returns
            -------
            self : estimator
            """
            if not all(isinstance(callback, Checkpoint) for callback in callbacks):
                raise TypeError(
                    "Before scikit-learn 1.9, callbacks must be instances of "
                    "skdam.Checkpoint."
                )
            self._skl_callbacks = list(callbacks)
            return self

        def __sklearn_clone__(self):
            clone = _clone_parametrized(self)
            return clone.set_callbacks(*getattr(self, "_skl_callbacks", []))


__all__ = ["CallbackSupportMixin", "FitCallbacks"]

RECONSTRUCTED = "classes_", "sparse_output_", "network_", "best_iter_"
"""What a callback needs in order to predict with an estimator in training."""


class FitCallbacks:
    """scikit-learn's callbacks around fit and each epoch; nothing before 1.9."""

    def __init__(self, estimator, n_epochs: int):
        self.estimator = estimator
        self.n_epochs = n_epochs
        self.context = None

    def begin_fit(self, X, y, sample_weight, n_done: int = 0) -> None:
        """Start the callbacks, with the data as the user gave them.

        Epochs go on behind those that were done before a checkpoint.
        """
        estimator = self.estimator
        callbacks = getattr(estimator, "_skl_callbacks", [])
        # A checkpoint needs none of these calls.
        if all(isinstance(callback, Checkpoint) for callback in callbacks) and (
            not hasattr(estimator, "_parent_callback_ctx")
        ):
            return
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data = {"X": X, "y": y, "metadata": metadata}
        self.context = estimator._init_callback_context(max_subtasks=self.n_epochs)
        self.context.call_on_fit_task_begin(estimator=estimator, **self.data)
        for _ in range(n_done):
            self.context.subcontext(task_name="epoch")

    @property
    def are_active(self) -> bool:
        return self.context is not None

    def begin_epoch(self) -> None:
        if self.are_active:
            self.epoch = self.context.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end_epoch(self) -> bool:
        """Tell whether a callback asks to stop."""
        return self.are_active and self._end(self.epoch)

    def end_fit(self) -> None:
        if self.are_active:
            self._end(self.context)

    def _end(self, context) -> bool:
        return context.call_on_fit_task_end(
            estimator=self.estimator,
            **self.data,
            # Copies: a callback may keep them, while training goes on in place.
            reconstruction_attributes=lambda: deepcopy(
                {name: getattr(self.estimator, name) for name in RECONSTRUCTED}
            ),
        )
