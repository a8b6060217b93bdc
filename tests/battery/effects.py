"""Is what a recipe is to build there? Measured on the test split alone, before the package is asked.

A recipe without an effect asks the package about nothing. So each cause that is to *show in the curves* has a
rule here: what must be there on the test split, and how much of it. A training that fails its rule is trained
again with another seed (`measure.RETRIES` times at most). The rules were written down before the battery ran.

Causes that are facts about the loop or the data (a softmax too many, samples in two splits, wrong labels)
are there by construction, whatever the curves do, and have no rule.

A twin must be healthy, which is asked of the test split as well (`is_healthy`): one that is not is trained
again at a third of its rate, so often as a recipe is with other seeds. This rule came with the sixth battery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional as F

from tests.battery.causes_of_data import rescaled
from tests.battery.causes_of_training import flip

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.battery.held_back import HeldBack
    from tests.battery.scenarios import Plan

__all__ = ["EFFECTS", "effect_is_there", "is_healthy"]

Floats = NDArray[np.float64]


def _level(curve: Floats, at: int) -> float:
    """Median of three epochs around a place (counted from 0; -1 is the last)."""
    n = len(curve)
    at = at % n
    low = min(max(at - 1, 0), n - 3)
    return float(np.median(curve[low : low + 3]))


def _rise(curve: Floats) -> tuple[int, float]:
    """Place of the lowest value, and how far the end lies above it."""
    if not np.isfinite(curve).all():
        return 0, float("nan")
    low = int(np.argmin(curve))
    return low, _level(curve, -1) - _level(curve, low)


def _accuracy(held: HeldBack) -> Floats:
    return np.array([held.accuracy(e) for e in range(1, held.ran.setup.epochs + 1)])


def _miscalibrated(held: HeldBack) -> bool:
    """The loss rises by 0.05 nats, and refitting a temperature takes back at least half of it."""
    low, rise = _rise(held.curve)
    return bool(rise >= 0.05 and held.calibration_share(low + 1, len(held.curve))[2] >= 0.5)


def _overfitted(held: HeldBack) -> bool:
    """It rises by 0.05 nats, refitting leaves a quarter of that, and accuracy falls by a point."""
    low, rise = _rise(held.curve)
    if not rise >= 0.05:
        return False
    accuracy = _accuracy(held)
    left = 1 - held.calibration_share(low + 1, len(held.curve))[2]
    return bool(left >= 0.25 and _level(accuracy, low) - _level(accuracy, -1) >= 0.01)


def _surer(held: HeldBack) -> bool:
    """In the second half the loss falls by 0.01 nats and a tenth while accuracy moves by under a point."""
    half, accuracy = len(held.curve) // 2, _accuracy(held)
    before, after = _level(held.curve, half), _level(held.curve, -1)
    still = abs(_level(accuracy, -1) - _level(accuracy, half)) < 0.01
    return bool(before - after >= max(0.01, 0.1 * before) and still)


def _relieved(held: HeldBack) -> bool:
    """With a fifth of its labels wrong, too, the loss falls by 0.05 nats and accuracy by a point."""
    setup = held.ran.setup
    (_, wrong), _ = flip(setup.test, 0.2, int(setup.test[1].max()) + 1, 90)
    losses, right = [], []
    for e in (1, setup.epochs):
        z = held.logits(e)
        losses.append(float(F.cross_entropy(z, wrong)))
        right.append(float((z.argmax(1) == wrong).double().mean()))
    return losses[0] - losses[1] >= 0.05 and right[0] - right[1] >= 0.01


def _stands_still(held: HeldBack) -> bool:
    """A tenth of the samples are wrong at the end, and the last quarter moves the loss by under 2 %."""
    quarter, accuracy = -max(len(held.curve) // 4, 3), _accuracy(held)
    moved = abs(_level(held.curve, -1) - _level(held.curve, quarter)) / _level(held.curve, -1)
    return bool(_level(accuracy, -1) <= 0.9 and moved < 0.02)


def _calm(held: HeldBack) -> bool:
    """The loss ends within 0.02 nats of its lowest level."""
    return bool(_rise(held.curve)[1] < 0.02)


def _averaged(held: HeldBack) -> bool:
    """Averaged as the recipe does, the loss rises by 0.1 nats, and twice as much as it does itself."""

    def reported(e: int) -> float:
        loss = np.sort(held.nll(e))
        return float((loss[:-4].mean() + loss[-4:].mean()) / 2)

    said = np.array([reported(e) for e in range(1, held.ran.setup.epochs + 1)])
    low, rise = _rise(said)
    return bool(rise >= max(0.1, 2 * (_level(held.curve, -1) - _level(held.curve, low))))


def _learned_nothing(held: HeldBack) -> bool:
    """Accuracy ends within five points of chance."""
    return _level(_accuracy(held), -1) <= 1 / (int(held.targets.max()) + 1) + 0.05


def _thrown(held: HeldBack) -> bool:
    """The loss is no number, or ends at chance, or above half of it after a rise by a fifth of it."""
    if not np.isfinite(held.curve).all():
        return True
    chance = float(np.log(int(held.targets.max()) + 1))
    up = float((held.curve - np.minimum.accumulate(held.curve)).max())
    end = _level(held.curve, -1)
    return bool(end > 0.9 * chance or (end > chance / 2 and up > chance / 5))


def _crawls(held: HeldBack) -> bool:
    """Over the run the loss falls, by less than a fifth."""
    return bool(0.8 * held.curve[0] < held.curve[-1] < held.curve[0])


def _swings(held: HeldBack) -> bool:
    """The later half stays five points above chance, and 30 % of all movement is up."""
    accuracy, move = _accuracy(held), np.diff(held.curve)
    chance = 1 / (int(held.targets.max()) + 1)
    kept = accuracy[len(accuracy) // 2 :].min() > chance + 0.05
    return bool(kept and np.clip(move, 0, None).sum() >= 0.3 * np.abs(move).sum())


def _carried(held: HeldBack) -> bool:
    """With one label in fifty wrong, too: these carry half of a rise by 0.02 nats; 95 % are right without."""
    setup = held.ran.setup
    (_, said), flipped = flip(setup.test, 0.02, int(setup.test[1].max()) + 1, 90)
    losses = np.array(
        [F.cross_entropy(held.logits(e), said, reduction="none").numpy() for e in range(1, setup.epochs + 1)]
    )
    low, rise = _rise(losses.mean(axis=1))
    if not rise >= 0.02 or _level(_accuracy(held), -1) < 0.95:
        return False
    change = losses[-1] - losses[low]
    return bool(change[flipped.numpy()].sum() >= 0.5 * change.sum())


def _outlying(held: HeldBack) -> bool:
    """With two inputs in a hundred on another scale, too: they hold a quarter of the loss at the end."""
    x, few = rescaled(held.ran.setup.test[0], 90)
    shares = []
    for e in range(held.ran.setup.epochs - 4, held.ran.setup.epochs + 1):
        loss = F.cross_entropy(held.logits_of(x, e), held.targets, reduction="none").numpy()
        shares.append(loss[few.numpy()].sum() / loss.sum())
    return bool(np.median(shares) >= 0.25)


def _rare_carry(held: HeldBack) -> bool:
    """The loss rises by 0.05 nats, and the rare class carries half of it."""
    low, rise = _rise(held.curve)
    return bool(rise >= 0.05 and held.rare_share(low + 1, len(held.curve)) >= 0.5)


def _parted(held: HeldBack) -> bool:
    """From the lowest loss on, the classes with few samples add 0.05 nats, the others take 0.02 away."""
    low, rise = _rise(held.curve)
    if not np.isfinite(rise):
        return False
    few = (held.targets < (int(held.targets.max()) + 1) // 2).numpy()
    epochs = range(1, held.ran.setup.epochs + 1)
    flows = [np.array([held.nll(e)[side].sum() / len(few) for e in epochs]) for side in (few, ~few)]
    up, down = (_level(flow, -1) - _level(flow, low) for flow in flows)
    return bool(up >= 0.05 and down <= -0.02)


def _reweighted(held: HeldBack) -> bool:
    """At the end the last weights make the loss differ from that with equal ones by 0.02 nats and a tenth."""
    weight = held.ran.setup.criterion.weight[held.targets].numpy()  # type: ignore[attr-defined]
    loss = held.nll(held.ran.setup.epochs)
    difference = abs(float(weight @ loss / weight.sum()) - float(loss.mean()))
    return difference >= max(0.02, 0.1 * float(loss.mean()))


EFFECTS: dict[str, Callable[[HeldBack], bool]] = {
    "overconfidence": _miscalibrated,
    "overconfidence_one_logit": _miscalibrated,
    "overfitting": _overfitted,
    "underconfidence": _miscalibrated,
    "growing_confidence": _surer,
    "tail_relief": _relieved,
    "capacity": _stands_still,
    "fluctuation": _calm,
    "averaging_artifact": _averaged,
    "dead_activations": _learned_nothing,
    "learning_rate_too_high": _thrown,
    "learning_rate_too_low": _crawls,
    "gradient_noise": _swings,
    "confident_errors": _carried,
    "outlier_inputs": _outlying,
    "class_imbalance": _rare_carry,
    "class_divergence": _parted,
    "class_weights_changed": _reweighted,
}


def effect_is_there(plan: Plan, held: HeldBack) -> bool:
    """Tell whether the recipe built what it is to build; a twin builds nothing."""
    rule = EFFECTS.get(plan.scenario.name)
    return plan.twin or rule is None or rule(held)


def is_healthy(held: HeldBack) -> bool:
    """Tell whether the test loss ends where it was lowest, but for what is small or may be chance.

    Ends and lowest are means of three epochs, sample by sample. A rise counts from 0.01 nats and 2 % of the
    lowest on, if it is two standard errors: of the mean change of the samples, and of the wobble between
    epochs (second differences, the lowest place and the later ones) in a difference of two such means.
    """
    curve = held.curve
    if not np.isfinite(curve).all():
        return False
    levels = np.convolve(curve, np.ones(3) / 3, "valid")
    low = int(np.argmin(levels))
    rise = float(levels[-1] - levels[low])
    if rise <= max(0.01, 0.02 * float(levels[low])):
        return True
    last, lowest = (np.mean([held.nll(at + e) for e in (1, 2, 3)], axis=0) for at in (len(levels) - 1, low))
    change = last - lowest
    bends = np.diff(curve[low:], 2)
    wobble = np.sqrt(np.mean(bends**2) / 6 * 2 / 3)
    return bool(rise < 2 * np.hypot(change.std(ddof=1) / np.sqrt(len(change)), wobble))
