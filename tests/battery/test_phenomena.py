"""Every pattern, mechanic, cause and question that the product promises, on a real training.

README.md lists them with the test that shows each; what no other test shows is here.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from jupyter_lossacc.causes import CAUSES, growing_confidence
from jupyter_lossacc.causes.pages import page
from jupyter_lossacc.diagnosis.checkpoint import advise
from jupyter_lossacc.diagnosis.decompose import decompose
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.episodes import find_episodes
from tests.battery.loop import Ran, ask, fit
from tests.battery.scenarios import plans
from tests.causes.cases import Case, case, over
from tests.recordings import train_and_record
from tests.scenarios import flip
from tests.scenarios_classes import draw, mlp

HERE = Path(__file__).parent
ROWS = [
    f"{letter}{i}" for letter, last in (("P", 9), ("M", 7), ("C", 16), ("Q", 7)) for i in range(1, last + 1)
]


def kinds(name: str, split: str = "val") -> set[str]:
    return {e.kind for e in case(name).episodes if e.split == split}


# ---- the table itself


def table() -> dict[str, str]:
    text = (HERE / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| ([PMCQ]\d+) \|(.*)$", text, re.M))


def test_the_table_has_every_row() -> None:
    assert list(table()) == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_that_the_table_names_exist(row: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", table()[row])
    assert named
    for path, name in named:
        tree = ast.parse((HERE.parents[1] / path).read_text(encoding="utf-8"))
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, (path, name)


# ---- patterns


def test_both_rise() -> None:
    assert "both_rise" in kinds("underconfidence")
    assert "both_rise" in kinds("underconfidence", "train")  # on training data too


@cache
def falling() -> Ran:
    """An over-confident network meets wrong labels."""
    plan = next(p for p in plans("home") if (p.scenario.name, p.family.name) == ("tail_relief", "waves"))
    return ask(fit(plan.setup(), plan.seed))


def test_both_fall() -> None:
    assert "both_fall" in {e.kind for e in falling().episodes if e.split == "val"}
    assert "tail_relief" in {f.cause for d in falling().diagnoses for f in d.supported}


@cache
def shrinking() -> Case:
    """A network far too sure of training labels that it has by heart, some wrong, is drawn back to zero."""
    torch.manual_seed(0)
    train, val = (draw([n, n], spread=2.0, seed=seed) for seed, n in enumerate((300, 600)))
    model = mlp(20, 2, 128)
    by_heart = torch.optim.Adam(model.parameters(), lr=1e-2)
    train_and_record(model, train, val, epochs=40, optimizer=by_heart, watch_steps=False)
    decays = torch.optim.AdamW(model.parameters(), lr=2.5e-4, weight_decay=20.0)
    (noisy, _), (watched, _) = flip(train, 0.15, 2, 0), flip(val, 0.15, 2, 1)
    r = train_and_record(model, noisy, watched, epochs=14, optimizer=decays).build()
    episodes = find_episodes(r)
    return Case(r, episodes, diagnose(r, episodes))


def test_both_fall_on_training_too_so_it_is_no_overfitting() -> None:
    """Training accuracy falls as well: nothing is overfitted."""
    both = {e.split: e for e in shrinking().episodes if e.kind == "both_fall"}
    assert set(both) == {"train", "val"}
    assert all(e.loss_change.high < 0 and e.accuracy_change.value < -0.005 for e in both.values())
    for d in shrinking().diagnoses:
        assert not {f.cause for f in d.supported} & {"overfitting", "overconfidence"}
    assert shrinking().finding("tail_relief").verdict == "supported"


def test_what_fell_when_both_fell() -> None:
    """Less sure where it is wrong, and yet more mistakes."""
    e = next(e for e in falling().episodes if (e.split, e.kind) == ("val", "both_fall"))
    parts = decompose(falling().recording, "val", e.start_epoch, e.end_epoch, "outcome")
    by = dict(zip(parts["part"], parts["loss_change"], strict=True))
    assert by["wrong"] < 0 < by["composition"]


def test_loss_rises_at_constant_accuracy() -> None:
    assert "loss_rises_accuracy_flat" in kinds("overconfidence")


def test_loss_falls_at_constant_accuracy() -> None:
    assert "loss_falls_accuracy_flat" in kinds("overconfidence", "train")


def test_a_forecast_stands_with_its_error_or_not_at_all() -> None:
    r = case("growing_confidence").recording
    for end in (25, 35, 45):
        f = growing_confidence.CAUSE.examine(r, over(r, "loss_falls_accuracy_flat", 10, end))
        assert f is not None
        assert ("in 5 epochs" in f.statement or "epochs (in" in f.statement) == (
            "back-tests off by" in f.statement
        )


@cache
def stuck() -> Case:
    """An over-confident network, whose optimiser then holds the weights of another one."""
    torch.manual_seed(0)
    train, val = draw([570, 30], spread=3.5, seed=0), draw([1140, 60], spread=3.5, seed=1)
    model, another = mlp(20, 2, 128), mlp(20, 2, 128)
    before = torch.optim.Adam(model.parameters(), lr=1e-2)
    train_and_record(model, train, val, epochs=40, optimizer=before)
    held = torch.optim.Adam(another.parameters(), lr=1e-3)
    r = train_and_record(model, train, val, epochs=16, optimizer=held).build()
    episodes = find_episodes(r)
    return Case(r, episodes, diagnose(r, episodes))


def test_accuracy_stuck_at_a_high_loss() -> None:
    """Ninety-five percent right, and a loss above that of always stating the class proportions."""
    last = stuck().recording.series("val")[-1]
    assert last.accuracy > 0.9
    assert last.nll > 2 * 0.1985
    assert "accuracy_stuck_loss_high" in {e.kind for e in stuck().episodes if e.split == "val"}


def test_high_training_accuracy_beside_a_high_validation_loss() -> None:
    found = case("overfitting")
    train, val = found.recording.series("train")[-1], found.recording.series("val")[-1]
    assert train.accuracy > 0.95
    assert val.nll > 5 * train.nll
    f = found.finding("overfitting")
    assert f.verdict == "supported"
    assert f"to {train.nll:.3f}" in f.statement


def test_high_accuracy_and_a_high_loss_on_validation_beside_a_perfect_training() -> None:
    """Both accuracies are high; one loss is a hundred times the other, and why is said."""
    found = case("label_noise")
    train, val = found.recording.series("train")[-1], found.recording.series("val")[-1]
    assert min(train.accuracy, val.accuracy) > 0.85
    assert val.nll > 100 * train.nll
    assert val.nll > 1.5 * min(s.nll for s in found.recording.series("val"))
    assert found.finding("label_noise").verdict == "supported"


def test_small_moves_the_same_way_raise_no_alarm() -> None:
    found = case("healthy_linear")
    losses = [s.nll for s in found.recording.series("val")]
    accuracies = [s.accuracy for s in found.recording.series("val")]
    both = (np.diff(losses) > 0) & (np.diff(accuracies) > 0)
    assert both.any()  # there are such epochs
    assert not any(e.harmful for e in found.episodes)


def test_an_episode_says_between_which_epochs_it_begins() -> None:
    for e in case("underconfidence").episodes:
        assert e.start_interval is not None
        assert e.start_interval[0] <= e.start_epoch <= e.start_interval[1]


# ---- mechanics


def test_confidence_at_both_ends_tells_what_accuracy_does_not() -> None:
    """As many are right as before, and they are sure by another amount."""
    found = case("overconfidence")
    e = next(e for e in found.episodes if e.split == "val")
    a, b = found.recording.paired("val", e.start_epoch, e.end_epoch)
    assert abs(a.correct.mean() - b.correct.mean()) < 0.02
    assert b.confidence.mean() > a.confidence.mean() + 0.01
    assert b.confidence[b.correct < 0.5].mean() > a.confidence[a.correct < 0.5].mean() + 0.01


def test_real_samples_of_the_four_kinds_are_there() -> None:
    found = case("overconfidence")
    e = next(e for e in found.episodes if e.split == "val")
    parts = decompose(found.recording, "val", e.start_epoch, e.end_epoch, "transitions")
    count = dict(zip(parts["part"], parts["samples"], strict=True))
    assert all(count[name] > 0 for name in ("stayed_right", "became_right", "became_wrong", "stayed_wrong"))
    worse = dict(zip(parts["part"], parts["loss_rises"], strict=True))
    assert worse["stayed_wrong"] > worse["stayed_right"]


def test_few_samples_carry_most_of_the_rise() -> None:
    found = case("overconfidence")
    e = next(e for e in found.episodes if e.split == "val")
    parts = decompose(found.recording, "val", e.start_epoch, e.end_epoch, "tail")
    top = parts["loss_change"][:3].sum()  # a tenth of the samples
    assert top > 0.5 * parts["loss_rises"].sum()


def test_the_loss_is_trained_on_and_accuracy_watched() -> None:
    """The steps carry what was optimised; nothing of accuracy enters them."""
    r = case("overconfidence").recording
    last = r.steps["epoch"] == 50
    mean = np.average(r.steps["loss"][last], weights=r.steps["n_samples"][last])
    assert mean == pytest.approx(r.summary("train", 50).reported_loss, abs=1e-5)


def test_steps_tell_of_the_gradient_and_the_split_of_what_it_did() -> None:
    """Gradient norms by step; most of the rise is larger logits, not other directions."""
    found = case("overconfidence")
    assert np.isfinite(found.recording.steps["grad_norm"]).all()
    e = next(e for e in found.episodes if e.split == "val")
    parts = decompose(found.recording, "val", e.start_epoch, e.end_epoch, "scale")
    by = dict(zip(parts["part"], parts["loss_change"], strict=True))
    assert by["scale"] > 0.5 * (by["scale"] + by["direction"])


# ---- remedies

# What phenomena ask to be offered against each cause; the page says it, or the action in the finding.
REMEDIES = {
    "overconfidence": ("temperature", "label smoothing", "dropout", "weight decay", "augment", "epoch"),
    "overfitting": ("L1", "L2", "dropout", "augment", "more data", "epoch"),
    "class_imbalance": ("sampler", "stratif", "weight=", "focal", "balanced accuracy", "F1"),
    "majority_collapse": ("draw the rare", "stratif", "weight=", "focal", "balanced accuracy", "F1"),
    "class_weights_changed": ("schedule", "balanced accuracy", "unweighted"),
    "misaligned_loss": ("CrossEntropyLoss",),
    "confident_errors": ("focal", "label smoothing", "look at"),
    "label_noise": ("relabel", "drop", "robust"),
    "capacity_or_noise": ("times as wide", "features"),
    "underconfidence": ("input noise", "augment", "more epochs"),
    "dead_activations": ("LeakyReLU", "initialisation", "learning rate"),
    "learning_rate_too_high": ('"lr"] /=', "scheduler", "adaptive"),
    "gradient_noise": ("batch", "rate", "averag"),
    "unshuffled_training": ("shuffle=True",),
}


@pytest.mark.parametrize("cause", REMEDIES)
def test_the_remedies_of_a_cause_are_offered(cause: str) -> None:
    text = page(cause).sections["What to try"].lower().replace("_", " ")
    assert not [word for word in REMEDIES[cause] if word.lower() not in text]


# ---- questions


def test_the_verdict_weighs_every_cause_for_and_against() -> None:
    found = case("overconfidence")
    asked = {f.cause for d in found.diagnoses for f in d.findings}
    episode = {c.id for c in CAUSES if c.scope != "no_episode"}
    unasked = episode - asked
    assert unasked <= {
        "growing_confidence",
        "tail_relief",
        "double_softmax",
        "capacity_or_noise",
    }  # of a fall
    supported = next(f for d in found.diagnoses for f in d.supported)
    assert any(e.supports for e in supported.evidence)
    rejected = [f for d in found.diagnoses for f in d.findings if f.verdict == "rejected"]
    assert any(not e.supports for f in rejected for e in f.evidence)


def test_is_it_bad_do_i_stop_and_which_epoch_do_i_keep() -> None:
    r = case("overconfidence").recording
    advice = advise(r, running=True)
    assert advice.epoch is not None
    assert advice.stop in ("now", "keep going", "undecided")
    assert advice.stop_reason
    assert {a.name for a in advice.alternatives} >= {"lowest loss", "highest accuracy", "last"}
    assert all(np.isfinite(a.mcnemar_p) for a in advice.alternatives)


def test_other_metrics_to_watch_are_recorded() -> None:
    s = case("overconfidence").recording.series("val")[-1]
    assert all(
        np.isfinite(v) for v in (s.balanced_accuracy, s.macro_f1, s.ece, s.temperature, s.calibrated_nll)
    )
    assert s.classes is not None
    for name in ("recall", "precision", "f1", "nll"):
        assert np.isfinite(getattr(s.classes, name)).all()
