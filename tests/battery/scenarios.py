"""Causes made by construction, on any kind of data, and what else is then true.

Every scenario takes a family and a seed and returns a `Setup`; its twin is the training without the cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tests.battery import causes_of_data as data
from tests.battery import causes_of_training as training
from tests.battery.abroad import ABROAD
from tests.battery.beyond import BEYOND
from tests.battery.elsewhere import ELSEWHERE
from tests.battery.families import AWAY, HOME, Family
from tests.battery.far import FAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.battery.loop import Setup

__all__ = ["BATTERIES", "FIRST_SEED", "SCENARIOS", "SEEDS", "Plan", "Scenario", "plans"]

BATTERIES = {
    "home": HOME,
    "away": AWAY,
    "far": FAR,
    "beyond": BEYOND,
    "abroad": ABROAD,
    "elsewhere": ELSEWHERE,
}
# What a training must show on the test split (effects.py): the effect of its recipe, or that it is healthy.
RULED = frozenset({"beyond", "abroad", "elsewhere"})
TWINS_RULED = frozenset({"elsewhere"})

SEEDS = 3
FIRST_SEED = {"home": 0, "away": 10, "far": 20, "beyond": 30, "abroad": 40, "elsewhere": 50}
# Sentences of plain accounting about a rise, right wherever the loss rises for another reason: how few
# samples carry it. Whether miscalibration or a worse model is behind a rise is asked of the test split.
ACCOUNT = frozenset({"confident_errors"})
BENIGN = frozenset({"growing_confidence", "fluctuation"})


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A cause with its twin.

    Parameters
    ----------
    cause : str
        What must be supported.
    make, twin : callable
        From family and seed.
    also : frozenset of str
        What else is true by construction.
    twin_also : frozenset of str
        What is true of the twin.
    or_first : frozenset of str
        Causes built in as well, and more telling: they may be named before it.
    needs_far : bool
        Asks for inputs on another scale.
    """

    name: str
    cause: str
    make: Callable[[Family, int], Setup]
    twin: Callable[[Family, int], Setup]
    also: frozenset[str] = frozenset()
    twin_also: frozenset[str] = frozenset()
    or_first: frozenset[str] = frozenset()
    needs_far: bool = False


def _of(
    name: str,
    make: Callable[[Family, int], Setup],
    twin: Callable[[Family, int], Setup],
    cause: str = "",
    also: str = "",
    twin_also: str = "",
    or_first: str = "",
    needs_far: bool = False,
) -> Scenario:
    return Scenario(
        name=name,
        cause=cause or name,
        make=make,
        twin=twin,
        also=frozenset(also.split()) | ACCOUNT | BENIGN,
        twin_also=frozenset(twin_also.split()) | BENIGN,
        or_first=frozenset(or_first.split()),
        needs_far=needs_far,
    )


# Reasons for what stands under `also`:
# - a rare class carries loss against the others: its losses part ways with theirs (class_divergence);
# - weights that grow on one class pull the losses of the classes apart, and that class is rare;
# - labels that are wrong in training are memorised (overfitting), those wrong in validation are noise,
#   against which every sure answer is too sure (overconfidence);
# - a collapse on uninformative inputs is a plateau that the data cannot leave, on rare classes;
# - labels of another class are wrong labels, however few or many;
# - a second held-out split without the noise of the first is unlike it;
# - where no information or no capacity is left, losses stand still (capacity_or_noise);
# - sorted samples, killed units and steps too long also leave a high plateau behind;
# - probabilities read as logits are never sure: their best temperature is far below 1.
SCENARIOS: tuple[Scenario, ...] = (
    _of("overconfidence", training.overconfidence, training.modest),
    _of("overconfidence_one_logit", training.one_logit, training.one_logit_modest, "overconfidence"),
    _of("overfitting", training.overfitting, training.overfitting_healthy),
    _of("underconfidence", training.underconfidence, training.smoothing_from_the_start),
    _of("growing_confidence", training.growing_confidence, training.growing_stopped),
    _of("tail_relief", training.tail_relief, training.tail_relief_healthy, also="label_noise overfitting"),
    _of("capacity", training.capacity, training.capacity_healthy, "capacity_or_noise"),
    _of(
        "irreducible_noise",
        training.noise,
        training.capacity_healthy,
        "capacity_or_noise",
        "label_noise overconfidence",
        or_first="label_noise",
    ),
    _of("fluctuation", training.fluctuation, training.modest, twin_also="fluctuation"),
    _of("misaligned_loss", training.misaligned, training.aligned),
    _of(
        "double_softmax",
        training.double_softmax,
        training.single_softmax,
        also="underconfidence capacity_or_noise learning_rate_too_low",
    ),
    _of(
        "averaging_artifact",
        training.averaging,
        training.averaging_healthy,
        also="overconfidence overfitting",
    ),
    _of("mode_mismatch", training.evaluates_in_training_mode, training.modest_modes),
    _of("mode_mismatch_training", training.trains_in_evaluation_mode, training.modest_modes, "mode_mismatch"),
    _of(
        "dead_activations",
        training.dead_units,
        training.living_units,
        also="capacity_or_noise",
    ),
    _of("learning_rate_too_high", training.rate_too_high, training.rate_healthy, also="capacity_or_noise"),
    _of("learning_rate_too_low", training.rate_too_low, training.rate_healthy),
    _of("gradient_noise", training.tiny_batches, training.rate_healthy, also="capacity_or_noise"),
    _of("confident_errors", data.confident_errors, data.clean_labels, also="label_noise overconfidence"),
    _of("label_noise", data.label_noise, data.clean_labels, also="overconfidence"),
    _of(
        "label_noise_everywhere",
        data.label_noise_everywhere,
        data.clean_labels,
        "label_noise",
        "overfitting overconfidence",
    ),
    _of("outlier_inputs", data.outlier_inputs, data.clean_labels, needs_far=True),
    _of("class_imbalance", data.imbalance, data.balanced, also="class_divergence"),
    _of(
        "majority_collapse",
        data.collapse,
        data.rare_but_told,
        also="class_imbalance capacity_or_noise",
    ),
    _of("class_divergence", data.divergence, data.converging),
    _of(
        "class_weights_changed",
        data.weights_changed,
        data.weights_fixed,
        also="class_imbalance class_divergence",
        twin_also="",
    ),
    _of("label_shift", data.label_shift, data.same_proportions),
    _of("split_mismatch", data.split_mismatch, data.like_splits),
    _of("split_overlap", data.split_overlap, data.apart),
    _of("unshuffled_training", data.unshuffled, data.shuffled, also="capacity_or_noise"),
)


@dataclass(frozen=True)
class Plan:
    """One training of a battery."""

    scenario: Scenario
    family: Family
    seed: int
    twin: bool
    ruled: bool = False

    def setup(self) -> Setup:
        """Make the training, the same each time."""
        torch.manual_seed(1000 * self.seed + len(self.scenario.name))
        made = (self.scenario.twin if self.twin else self.scenario.make)(self.family, self.seed)
        made.epochs *= self.family.longer
        return made


def plans(battery: str, first_seed: int = 0) -> Iterator[Plan]:
    """List the trainings of a battery: every scenario and twin, each seed on another kind of data."""
    families = BATTERIES[battery]
    for i, scenario in enumerate(SCENARIOS):
        fit = [f for f in families if f.far or not scenario.needs_far]
        for seed in range(first_seed, first_seed + SEEDS):
            family = fit[(i + seed) % len(fit)]
            for twin in (False, True):
                rules = TWINS_RULED if twin else RULED
                yield Plan(scenario, family, seed, twin, ruled=battery in rules)
