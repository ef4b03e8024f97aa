"""Tells a training that has collapsed from one that is merely not good."""

from __future__ import annotations

import numpy as np

__all__ = ["describe_collapse"]

SATURATED = -4.5
"""Score below which tanh is -1 to within 3e-4."""


def describe_collapse(
    scores: np.ndarray, codes: np.ndarray, steepness: float, classes: np.ndarray
) -> str | None:
    """Say what is wrong with a trained network, or None.

    Past the edge of tanh, or with no positive overlap left, the gradient of a sample
    vanishes beside that of others, and training can lose it for good.

    Parameters
    ----------
    scores : array of shape (n_samples, n_classes)
        Scores of some training samples, at least one for each class.
    codes : array of shape (n_samples,)
        Number of each sample's class.
    steepness : float
        m of the objective: scores well below 1 / m are all the same to it.
    classes : array of shape (n_classes,)
        Labels.

    Returns
    -------
    str or None

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.collapse import describe_collapse
    >>> scores = np.array([[-9.0, 2.0], [-8.0, 2.0], [-9.0, 2.0]])
    >>> describe_collapse(scores, np.array([0, 1, 1]), 1, np.array(["a", "b"]))
    "the units of classes ['a'] are saturated at -1 and recognise no sample"
    """
    own = np.take_along_axis(scores, codes[:, None], axis=1)[:, 0]
    right = scores.argmax(axis=1) == codes
    lost = [
        classes[code].item()
        for code in np.unique(codes)
        if not right[codes == code].any() and np.median(own[codes == code]) < SATURATED
    ]
    if lost:
        return (
            f"the units of classes {lost} are saturated at -1 and recognise no sample"
        )
    saturated = (own < SATURATED).mean()
    if saturated > 0.1:
        return (
            f"the true class's unit is saturated at -1 for {saturated:.0%} of samples"
        )
    recall = np.mean([right[codes == code].mean() for code in np.unique(codes)])
    chance = 1 / len(np.unique(codes))
    if recall - chance < 0.25 * (1 - chance):
        silent = np.median(np.abs(own)) * steepness < 0.01
        state = "hardly respond to" if silent else "hardly tell apart"
        return f"the classification units {state} the samples"
    return None
