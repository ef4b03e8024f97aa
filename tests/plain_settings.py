"""Plain settings of a training, which tests of the backends vary."""

from skdam._resolve import LearningRate, Settings, TemperatureRamp
from skdam.energies import RectifiedPolynomial
from skdam.losses import PowerError

PLAIN = Settings(
    energy=RectifiedPolynomial(3),
    loss=PowerError(2),
    exact=False,
    n_memories=7,
    intercept=0.0,
    temperature=1.0,
    auto_temperature=1.0,
    ramp=TemperatureRamp(),
    max_iter=1,
    tol=None,
    n_iter_no_change=20,
    early_stopping=False,
    input_scale=1.0,
    init_mean=0.0,
    init_std=0.3,
    confidence=1.0,
    learning_rate=LearningRate(0.1, "constant", 1.0, 10),
    momentum=0.9,
    batch_size=10,
    gradient_tolerance=0.0,
    noise=0.0,
    dropout=0.0,
    n_reinit_epochs=0,
    reinit_every=1,
    largest_overlap=10.0,
    dtype="float64",
    seed=0,
)
