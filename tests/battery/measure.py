"""One training -> one row of results."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jupyter_lossacc.causes.double_softmax import floor
from tests.battery.effects import effect_is_there, is_healthy
from tests.battery.held_back import HeldBack
from tests.battery.loop import ask, fit
from tests.battery.scenarios import FIRST_SEED, SEEDS, plans

if TYPE_CHECKING:
    from jupyter_lossacc.records import Diagnosis, Finding
    from tests.battery.loop import Ran
    from tests.battery.scenarios import Plan

__all__ = ["RETRIES", "measure", "measure_at", "read", "train", "train_twin"]

TRAINED = ("train", "train_eval")
RETRIES = 3
LOWER = 3.0  # what the rate of a twin that is not healthy is divided by


def measure_at(battery: str, index: int) -> dict[str, Any]:
    """Do the training at a place in a battery: its recipe itself does not travel between processes."""
    return measure(list(plans(battery, FIRST_SEED[battery]))[index])


def measure(plan: Plan) -> dict[str, Any]:
    """Train, ask, and compare with the truth."""
    torch.set_num_threads(1)
    begun = time.process_time()
    if plan.twin and plan.ruled:
        ran, rule = train_twin(plan)
        kept = plan
    else:
        kept, ran, rule = train(plan) if plan.ruled else (plan, fit(plan.setup(), plan.seed), {})
    return read(kept, ask(ran)) | rule | {"seconds": round(time.process_time() - begun, 1)}


def train(plan: Plan) -> tuple[Plan, Ran, dict[str, Any]]:
    """Train until the recipe's effect is there on the test split; give the first training where it never is.

    The package is asked about the one that is returned, and about no other.
    """
    first = None
    for tried in range(RETRIES + 1):
        again = replace(plan, seed=plan.seed + SEEDS * tried)
        ran = fit(again.setup(), again.seed)
        if effect_is_there(again, HeldBack(ran)):
            return again, ran, {"tried": tried, "effect": True}
        first = first or (again, ran)
    assert first is not None
    return (*first, {"tried": RETRIES, "effect": False})


def train_twin(plan: Plan) -> tuple[Ran, dict[str, Any]]:
    """Train a twin at ever lower rates until it is healthy on the test split; the first where it never is.

    The package is asked about the one that is returned, and about no other.
    """
    first = None
    for tried in range(RETRIES + 1):
        setup = plan.setup()
        for group in setup.optimizer.param_groups:
            group["lr"] /= LOWER**tried
        ran = fit(setup, plan.seed)
        if is_healthy(HeldBack(ran)):
            return ran, {"tried": tried, "healthy": True}
        first = first or ran
    assert first is not None
    return first, {"tried": RETRIES, "healthy": False}


def read(plan: Plan, ran: Ran) -> dict[str, Any]:
    """Compare what was said with the truth."""
    scenario = plan.scenario
    held = HeldBack(ran)
    about = [d for d in ran.diagnoses if d.episode is None or d.episode.split not in TRAINED]
    supported = {f.cause for d in about for f in d.supported}
    allowed = scenario.twin_also if plan.twin else scenario.also | {scenario.cause}
    if not plan.twin:
        allowed = allowed | held.true_of_a_rise()
    first = _first(about)
    return {
        "scenario": scenario.name,
        "cause": scenario.cause,
        "family": plan.family.name,
        "seed": plan.seed,
        "twin": plan.twin,
        "episodes": [f"{e.split} {e.kind} {e.start_epoch}-{e.end_epoch}" for e in ran.episodes],
        "harmful": sorted(e.kind for e in ran.episodes if e.harmful),
        "supported": sorted(supported),
        "first": sorted(first),
        "named first": bool(first & (scenario.or_first | {scenario.cause})),
        "wrong": sorted(supported - allowed),
        "verdict": _verdict(about, scenario.cause),
        "number": None if plan.twin else _number(plan, ran, held),
        "checkpoint": None if plan.twin else _checkpoint(ran, held),
    }


def _first(about: list[Diagnosis]) -> set[str]:
    """Return what is named first: about the run, and about each stretch that is shown."""
    return {d.supported[0].cause for d in about if d.supported}


def _verdict(about: list[Diagnosis], cause: str) -> str:
    order = ["supported", "undecided", "rejected", "not_tested"]
    found = [f.verdict for d in about for f in d.findings if f.cause == cause]
    return min(found, key=order.index) if found else "not asked"


def _number(plan: Plan, ran: Ran, held: HeldBack) -> dict[str, Any] | None:
    """Return the number in the finding on the cause beside its truth."""
    for d in ran.diagnoses:
        for f in d.supported:
            if f.cause == plan.scenario.cause and not (d.episode and d.episode.split in TRAINED):
                found = _truth(plan, ran, held, d, f)
                if found is not None and all(math.isfinite(x) for x in found[1:]):
                    return {"what": found[0], "value": round(found[1], 4), "truth": round(found[2], 4)}
    return None


def _truth(plan: Plan, ran: Ran, held: HeldBack, d: Diagnosis, f: Finding) -> tuple[str, float, float] | None:
    known, ends = ran.setup.truth, held.ends(d.episode)
    evidence = {e.name: e.value for e in f.evidence}
    for name, truth in known.items():
        if name in evidence:
            return name, evidence[name], truth
    if f.cause == "outlier_inputs":
        return "samples listed", float(len(f.sample_ids)), known["samples"]
    if f.cause == "double_softmax" and f.counterfactual is not None:
        return "floor of the loss", f.counterfactual.value, floor(plan.family.classes)
    if f.cause == "majority_collapse":
        counts = torch.bincount(ran.setup.val[1])
        base = float(counts.max() / counts.sum())
        return "accuracy beside its base rate", ran.recording.series("val")[-1].accuracy, base
    if f.cause == "mode_mismatch":
        epochs = ran.setup.epochs
        return (
            "passes in the wrong mode",
            evidence["passes in the wrong mode"],
            (epochs if ran.setup.evaluates_in == "train" else epochs - 1),
        )
    if f.share is None or ends is None:
        return None
    return _share(f, held, ends)


def _share(f: Finding, held: HeldBack, ends: tuple[int, int]) -> tuple[str, float, float] | None:
    """Return the share in the finding beside that of fresh samples."""
    assert f.share is not None
    if f.cause in ("overconfidence", "underconfidence"):
        return "share, beside the test split's", f.share.value, held.calibration_share(*ends)[2]
    if f.cause == "overfitting":
        return "share, beside the test split's", f.share.value, 1 - held.calibration_share(*ends)[2]
    if f.cause == "class_imbalance":
        return "share, beside the test split's", f.share.value, held.rare_share(*ends)
    if f.cause in ("growing_confidence", "tail_relief"):
        part = "right" if f.cause == "growing_confidence" else "wrong"
        return "share, beside the test split's", f.share.value, held.outcome_share(*ends, part)
    return None


def _checkpoint(ran: Ran, held: HeldBack) -> dict[str, list[float]]:
    """Test accuracy and test loss, at the temperature of validation, of the epochs one might keep."""
    assert ran.advice is not None
    named = {"advised": ran.advice.epoch} | {a.name: a.epoch for a in ran.advice.alternatives}
    series = {s.epoch: s for s in ran.recording.series("val")}
    found = {}
    for name, epoch in named.items():
        if epoch is None or epoch < 1:
            continue
        t = series[epoch].temperature
        loss = held.nll(epoch, t if np.isfinite(t) else 1.0).mean()
        if not np.isfinite(loss):  # the weights broke: there is no epoch to keep
            continue
        found[name] = [epoch, round(held.accuracy(epoch), 4), round(float(loss), 4)]
    return found
