"""What looks like a cause and is not: each test is a wrong verdict that was once given, made small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jupyter_lossacc.causes import (
    capacity_or_noise,
    class_divergence,
    gradient_noise,
    learning_rate_too_high,
    learning_rate_too_low,
    majority_collapse,
    overfitting,
)
from jupyter_lossacc.causes.cause import window
from jupyter_lossacc.causes.optimisation import descent_of
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.records import Finding, LossInfo, Recording
from tests.causes.cases import case, over
from tests.recordings import RecordingBuilder
from tests.scenarios_classes import optimiser

RARE = (torch.arange(1000) % 20 == 0).long()


def verdict(finding: Finding | None) -> str:
    assert finding is not None
    return finding.verdict


# ---- one answer for everything


def one_answer(rare: float = -6.0, spread: float = 0.0, epochs: int = 8) -> RecordingBuilder:
    """Nearly every answer is class 0; `rare` is the logit of class 1 for its own samples, -6 for others."""
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    logit = torch.where(RARE == 1, rare, -6.0) + spread * noise
    builder = RecordingBuilder()
    for epoch in range(1, epochs + 1):
        builder.add("val", epoch, epoch, torch.stack([torch.zeros(1000), logit], 1), RARE)
    return builder


def test_the_same_answer_whatever_is_shown_is_a_collapse() -> None:
    assert verdict(majority_collapse.examine(one_answer(spread=0.5).build(), None)) == "supported"


def test_a_model_that_ranks_the_rare_samples_first_has_a_threshold_to_move() -> None:
    """Its loss is far above chance, because it is too sure, and every answer is the largest class."""
    found = majority_collapse.examine(one_answer(rare=-5.0, spread=0.8).build(), None)
    assert verdict(found) == "undecided"
    assert found is not None
    assert "matter of the threshold" in found.statement
    assert "threshold" in found.action


def test_rare_samples_found_later_were_learned_slowly() -> None:
    builder = one_answer(spread=0.5)
    for epoch in range(9, 12):
        found = torch.where((RARE == 1) & (torch.arange(1000) % 3 == 0), 2.0, -6.0)
        builder.add("val", epoch, epoch, torch.stack([torch.zeros(1000), found], 1), RARE)
    r = builder.build()
    stretch = over(r, "accuracy_stuck_loss_high", 1, 8)
    finding = majority_collapse.examine(r, stretch)
    assert verdict(finding) == "rejected"
    assert finding is not None
    assert "slow, not collapsed" in finding.statement
    assert verdict(majority_collapse.examine(builder.build(upto=8), stretch)) == "supported"


def test_rare_samples_found_in_training_alone_were_memorised() -> None:
    builder = one_answer(spread=0.5)
    known = torch.stack([torch.zeros(1000), torch.where(RARE == 1, 4.0, -4.0)], 1)
    for epoch in range(1, 9):
        builder.add("train", epoch, epoch, known, RARE, training=True)
    finding = majority_collapse.examine(builder.build(), None)
    assert verdict(finding) == "rejected"
    assert finding is not None
    assert "100 % are found" in finding.statement


# ---- the optimiser


def steps(ratio: np.ndarray, dead: np.ndarray | None = None, batch: float = 64.0) -> dict[str, np.ndarray]:
    """A loss that hardly falls, 20 steps an epoch."""
    n = len(ratio)
    rng = np.random.default_rng(0)
    return {
        "epoch": np.arange(n) // 20 + 1.0,
        "step": np.arange(n) + 1.0,
        "loss": 2.3 - 0.1 * np.arange(n) / n,
        "n_samples": np.full(n, batch),
        "learning_rate": np.full(n, 0.1),
        "grad_norm": np.where(np.arange(n) < 40, rng.gamma(1.0, 1.0, n), rng.gamma(100.0, 0.01, n)),
        "update_ratio": ratio,
        **({} if dead is None else {"dead_unit_share": dead}),
    }


def test_a_rate_that_a_schedule_lowered_was_not_too_low() -> None:
    base = optimiser(0, lr=0.05).build()
    short = replace(base, steps=steps(np.full(200, 2e-5)))
    decayed = replace(base, steps=steps(np.where(np.arange(200) < 60, 5e-3, 2e-5)))
    assert verdict(learning_rate_too_low.examine(short, None)) == "supported"
    finding = learning_rate_too_low.examine(decayed, None)
    assert verdict(finding) == "rejected"
    assert finding is not None
    assert "earlier a step changed them by 0.5 %" in finding.statement


def test_the_gradient_of_a_dead_network_says_nothing_about_its_noise() -> None:
    dead = np.where(np.arange(200) < 40, 0.3, 1.0)
    r = replace(optimiser(0, lr=0.05).build(), steps=steps(np.full(200, 1e-2), dead, batch=2.0))
    d = descent_of(r)
    assert not isinstance(d, str)
    assert d.gradient_cv > gradient_noise.NOISY
    alive = descent_of(replace(r, steps=steps(np.full(200, 1e-2), np.full(200, 0.3), batch=2.0)))
    assert not isinstance(alive, str)
    assert alive.gradient_cv < gradient_noise.NOISY


def test_a_network_that_long_steps_silenced_had_too_high_a_rate() -> None:
    """Its loss never swings far, because it is dead within the first epoch."""
    dead = np.where(np.arange(200) < 10, 0.1, 1.0)
    ratio = np.where(np.arange(200) < 20, 0.2, 1e-3)
    base = optimiser(0, lr=0.05).build()
    finding = learning_rate_too_high.examine(replace(base, steps=steps(ratio, dead)), None)
    assert verdict(finding) == "supported"
    assert finding is not None
    assert "silenced the network: 10 % of the hidden units" in finding.statement
    for other in (steps(ratio / 10, dead), steps(ratio, np.full(200, 0.1)), steps(ratio, np.ones(200))):
        assert verdict(learning_rate_too_high.examine(replace(base, steps=other), None)) != "supported"


# ---- classes and splits


@pytest.mark.parametrize(("level", "expected"), [(-1.0, "rejected"), (2.5, "supported")])
def test_flows_between_classes_are_weighed_against_the_loss(level: float, expected: str) -> None:
    """The same 0.015 nats each way are nothing beside a loss of 1.7, and something beside one of 0.2."""
    targets = torch.arange(2000) % 4
    rising = (targets < 2).float() * 2 - 1
    slope = 1 - float(torch.tensor([level, 0, 0, 0.0]).softmax(0)[0])  # of the loss in the own logit
    noise = torch.Generator().manual_seed(0)
    builder = RecordingBuilder()
    for epoch in range(1, 11):
        own = level - rising * (epoch - 1) / 9 * 0.03 / slope + 0.002 * torch.randn(1, generator=noise)
        logits = torch.zeros(2000, 4)
        logits[torch.arange(2000), targets] = own
        builder.add("val", epoch, epoch, logits, targets)
    r = builder.build()
    finding = class_divergence.examine(r, over(r, "loss_rises_accuracy_flat", 1, 10))
    assert verdict(finding) == expected, finding


def unlike(test_too: bool) -> Recording:
    """Validation is harder than test; the logits grow there, and on test only if asked for."""
    noise = torch.Generator().manual_seed(1)
    y = torch.randint(3, (4000,), generator=noise)
    clean = 2.0 * torch.eye(3)[y]
    hard = clean + 2.4 * torch.randn(4000, 3, generator=noise)
    easy = clean + 1.9 * torch.randn(4000, 3, generator=noise)
    builder = RecordingBuilder()
    for epoch in range(1, 13):
        builder.add("val", epoch, epoch, (0.6 + 0.15 * epoch) * hard, y)
        builder.add("test", epoch, epoch, (0.6 + 0.15 * epoch if test_too else 1.0) * easy, y)
    return builder.build()


@pytest.mark.parametrize("test_too", [False, True])
def test_a_model_too_sure_on_other_inputs_is_not_too_sure_for_sure(test_too: bool) -> None:
    r = unlike(test_too)
    d = diagnose(r, (over(r, "loss_rises_accuracy_flat", 1, 12),))
    assert {f.cause: f.verdict for f in d[1].findings}["split_mismatch"] == "supported"
    f = next(f for f in d[0].findings if f.cause == "overconfidence")
    rises = r.summary("test", 12).nll > r.summary("test", 1).nll
    assert rises == test_too
    assert f.verdict == ("supported" if test_too else "undecided"), f.statement
    assert ("split mismatch" in f.statement) == (not test_too)
    taken_back = {f.cause for f in d[0].findings if "split mismatch" in f.statement}
    assert not taken_back & {f.cause for f in d[0].supported}


# ---- the model


def test_a_plateau_of_a_modest_model_is_a_plateau() -> None:
    """Its temperature is far below 1, which costs next to nothing: calibration is not the matter."""
    noise = torch.Generator().manual_seed(0)
    y = torch.randint(4, (2000,), generator=noise)
    logits = 1.2 * torch.eye(4)[y] + torch.randn(2000, 4, generator=noise)
    for shrink, expected in ((0.9, "supported"), (0.3, "rejected")):
        builder = RecordingBuilder(loss=LossInfo(name="cross_entropy"))
        for epoch in range(1, 13):
            for split in ("train_eval", "val"):
                builder.add(split, epoch, epoch, shrink * logits, y)
        finding = capacity_or_noise.examine(builder.build(), None)
        assert verdict(finding) == expected, finding
        assert finding is not None
        temperature = {e.name: e.value for e in finding.evidence}["temperature"]
        assert temperature < 0.85


def test_the_few_that_carry_a_rise_come_before_how_sure_the_model_is() -> None:
    found = case("confident_errors")
    assert {"confident_errors", "overconfidence"} <= found.supported()
    assert "overconfidence" not in found.first()


def worse_and_surer(noise_grows: float) -> Recording:
    """The logits grow fourfold; of what tells the classes apart, `noise_grows` drowns in noise meanwhile."""
    generator = torch.Generator().manual_seed(2)
    y = torch.randint(4, (3000,), generator=generator)
    noise = torch.randn(3000, 4, generator=generator)
    builder = RecordingBuilder()
    for epoch in range(1, 13):
        t = (epoch - 1) / 11
        logits = (1 + 3 * t) * (2.5 * torch.eye(4)[y] + (1 + noise_grows * t) * noise)
        builder.add("val", epoch, epoch, logits, y)
        builder.add("train_eval", epoch, epoch, (1 + 5 * t) * torch.eye(4)[y], y)
    return builder.build()


@pytest.mark.parametrize("noise_grows", [0.0, 0.6])
def test_answers_that_became_wrong_are_named_before_how_sure_the_model_is(noise_grows: float) -> None:
    r = worse_and_surer(noise_grows)
    d = diagnose(r, (over(r, "loss_rises_accuracy_falls", 1, 12),))[0]
    shares = {f.cause: f.share.value for f in d.supported if f.share is not None}
    assert shares["overconfidence"] > 0.5
    named = [f.cause for f in d.supported if f.cause in ("overfitting", "overconfidence")]
    assert named[0] == ("overfitting" if noise_grows else "overconfidence")


def test_a_constant_answer_has_no_accuracy_to_lose() -> None:
    """Leaving the majority's answer costs points of accuracy; that alone makes no small part overfitting."""
    builder = one_answer(epochs=1)
    for epoch in range(2, 9):
        wrong = (torch.arange(1000) % 25 == 3).float() * 12.0
        builder.add("val", epoch, epoch, torch.stack([torch.zeros(1000), wrong - 6.0], 1), RARE)
    r = builder.build()
    w = window(r, over(r, "loss_rises_accuracy_falls", 1, 8))
    assert w is not None
    assert w.accuracy_change < -0.03
    assert not overfitting._loses_accuracy(w)
    assert overfitting._loses_accuracy(replace(w, start=replace(w.start, classes=None)))


def settled(growth: float, learns: float) -> Recording:
    """After twelve epochs margins grow by `growth` in all, and `learns` of the mistakes are mended."""
    generator = torch.Generator().manual_seed(3)
    y = torch.randint(3, (1500,), generator=generator)
    noise = torch.randn(1500, 3, generator=generator)
    mended = torch.rand(1500, generator=generator)
    builder = RecordingBuilder()
    for epoch in range(1, 25):
        t = max(0.0, (epoch - 12) / 12)
        logits = 2.5 * torch.eye(3)[y] + noise
        wrong = logits.argmax(1) != y
        logits[wrong & (mended < learns * t)] = 2.5 * torch.eye(3)[y[wrong & (mended < learns * t)]]
        wobble = 0.01 * float(torch.randn(1, generator=generator))
        builder.add("val", epoch, epoch, (0.5 + 0.5 * min(epoch, 12) / 12 + growth * t + wobble) * logits, y)
    return builder.build()


@pytest.mark.parametrize(
    ("growth", "learns", "expected"), [(0.5, 0.0, "supported"), (0.0, 0.0, None), (0.5, 0.9, None)]
)
def test_a_fall_at_constant_accuracy_is_explained_where_no_stretch_is_shown(
    growth: float, learns: float, expected: str | None
) -> None:
    r = settled(growth, learns)
    run = {f.cause: f.verdict for f in diagnose(r, ())[0].findings}
    assert run.get("growing_confidence") == expected
    assert run["fluctuation"] == "supported"  # nothing unusual all the same
    shown = diagnose(r, (over(r, "loss_falls_accuracy_flat", 13, 24),))
    assert "growing_confidence" not in {f.cause for f in shown[-1].findings}, "told once"


def test_guessing_is_not_called_nothing_unusual() -> None:
    """No answer is given to nearly all samples, and yet nothing is known of any."""
    generator = torch.Generator().manual_seed(4)
    y = torch.arange(1000) % 5
    for known, expected in ((0.0, "undecided"), (0.5, "supported")):
        builder = RecordingBuilder()
        for epoch in range(1, 11):
            logits = 0.05 * torch.randn(1000, 5, generator=generator) + known * torch.eye(5)[y]
            builder.add("val", epoch, epoch, logits, y)
        found = {f.cause: f for f in diagnose(builder.build(), ())[0].findings}["fluctuation"]
        assert found.verdict == expected
        assert ("nothing is learned" in found.statement) == (not known)


def test_a_loss_seen_above_its_lowest_is_not_said_to_be_within_its_wobble() -> None:
    """A rise of three wobbles in seven epochs is no trend, but a reader sees it."""
    y = torch.arange(400) % 4
    losses = [1.41, 1.37, 1.13, 0.91, 0.85, 0.91, 1.00, 1.08, 0.97, 1.02, 1.00, 0.99]
    for shown, expected in (
        (losses, "0.140 nats above its lowest, at epoch 5"),
        (losses[:6], "Nothing unusual"),
    ):
        builder = RecordingBuilder()
        for epoch, loss in enumerate(shown, 1):
            margin = -np.log(np.expm1(loss) / 3)
            builder.add("val", epoch, epoch, margin * torch.eye(4)[y], y)
        found = {f.cause: f for f in diagnose(builder.build(), ())[0].findings}["fluctuation"]
        assert found.verdict == "supported"
        assert expected in found.statement


def test_an_accuracy_that_is_lost_at_a_steady_loss_is_not_called_nothing_unusual() -> None:
    """As with wrong training labels, learned one by one: the right answers grow surer, and fewer."""
    y = torch.arange(400) % 4
    rise, wobble = np.linspace(0.85, 0.95, 6), 0.005 * (-1.0) ** np.arange(10)
    for later, expected in ((0.88, "fallen by 8.0 points since about epoch 9"), (0.94, "Nothing unusual")):
        builder = RecordingBuilder()
        falls = np.linspace(0.95, later, 10) + wobble
        for epoch, share in enumerate((*rise, *(0.95 + wobble[:4]), *falls, *(later + wobble)), 1):
            right = torch.arange(400) % 100 < round(100 * share)
            sure = -np.log(np.expm1((0.5 - 2 * (1 - share)) / share) / 3)
            logits = sure * torch.eye(4)[y]
            logits[~right] = np.log(np.exp(2.0) - 3) * torch.eye(4)[(y + 1) % 4][~right]
            builder.add("val", epoch, epoch, logits, y)
        found = {f.cause: f for f in diagnose(builder.build(), ())[0].findings}["fluctuation"]
        assert found.verdict == ("undecided" if later == 0.88 else "supported")
        assert expected in found.statement


def swinging(level: float) -> dict[str, np.ndarray]:
    """Steps whose loss goes up and down around a level from epoch to epoch, by 5 %, with long updates."""
    made = steps(np.full(200, 3e-2))
    epoch = made["epoch"]
    return made | {"loss": level * (1 + 0.05 * (-1.0) ** epoch + (epoch == 1))}


def test_a_loss_that_swings_around_guessing_may_have_nothing_to_learn() -> None:
    learned = optimiser(0, lr=0.05).build()
    base = replace(learned, summaries=tuple(s for s in learned.summaries if s.training))
    d = descent_of(base)
    assert not isinstance(d, str)
    chance = float(np.median(d.loss[-len(d.loss) // 4 :]) / d.above_chance)
    for level, expected in ((chance, "undecided"), (0.7 * chance, "supported")):
        found = learning_rate_too_high.examine(replace(base, steps=swinging(level)), None)
        assert verdict(found) == expected, found
    known = learning_rate_too_high.examine(replace(learned, steps=swinging(chance)), None)
    assert verdict(known) == "supported", "an evaluation says that there was something to learn"


def evaluated(wobble: float) -> Recording:
    """Steps of batches of two whose mean loss falls; the evaluation swings by `wobble` of its mean."""
    y = torch.arange(400) % 4
    builder = RecordingBuilder()
    for epoch in range(1, 11):
        sure = 1.0 + wobble * (-1.0) ** epoch
        builder.add("val", epoch, epoch, sure * torch.eye(4)[y], y)
    made = steps(np.full(200, 8e-3), batch=2.0)
    made["loss"] = 1.4 - 0.05 * made["epoch"]
    made["grad_norm"] = np.random.default_rng(0).gamma(1.0, 1.0, 200)
    return replace(builder.build(), steps=made)


def test_weights_that_are_thrown_about_show_in_the_evaluation() -> None:
    """The mean over hundreds of batches of two falls all the same."""
    for wobble, expected in ((0.5, "supported"), (0.02, "rejected")):
        assert verdict(gradient_noise.examine(evaluated(wobble), None)) == expected


def test_a_curve_that_wobbles_is_not_seen_to_stand_still() -> None:
    noise = torch.Generator().manual_seed(0)
    y = torch.randint(4, (2000,), generator=noise)
    logits = 1.2 * torch.eye(4)[y] + torch.randn(2000, 4, generator=noise)
    for wobble, expected in ((0.0, "supported"), (0.15, "undecided")):
        builder = RecordingBuilder(loss=LossInfo(name="cross_entropy"))
        for epoch in range(1, 16):
            scale = 0.9 - (wobble if epoch % 2 else 0.0)
            for split in ("train_eval", "val"):
                builder.add(split, epoch, epoch, scale * logits, y)
        assert verdict(capacity_or_noise.examine(builder.build(), None)) == expected


def jumping(rise: float) -> Recording:
    """Every ninth epoch is far above the others, which rise in the end if asked for."""
    generator = torch.Generator().manual_seed(5)
    y = torch.randint(3, (1000,), generator=generator)
    logits = 1.5 * torch.eye(3)[y] + torch.randn(1000, 3, generator=generator)
    builder = RecordingBuilder()
    for epoch in range(1, 31):
        scale = 1.6 + 2.0 * rise * max(0, epoch - 18) / 6 + 0.02 * float(torch.randn(1, generator=generator))
        builder.add("val", epoch, epoch, (9.0 if epoch % 9 == 3 else scale) * logits, y)
    return builder.build()


@pytest.mark.parametrize("rise", [0.0, 1.0])
def test_a_level_that_has_risen_is_asked_about_past_epochs_that_jump(rise: float) -> None:
    r = jumping(rise)
    found = {f.cause: f.verdict for f in diagnose(r, ())[0].findings}
    assert ("overconfidence" in found) == (rise > 0)


@pytest.mark.parametrize("wrong", [0, 1, 4])
def test_of_a_few_mistakes_no_temperature_is_made_a_cause(wrong: int) -> None:
    """Fitted to none or a few, it makes of a small rise a huge one that calibration does not repair."""
    y = torch.arange(60) % 3
    builder = RecordingBuilder()
    for epoch in range(1, 13):
        answers = y.clone()
        answers[: wrong if epoch < 8 else wrong + 1] += 1
        logits = (4 + 0.3 * epoch) * torch.nn.functional.one_hot(answers % 3, 3).float()
        builder.add("train", epoch, epoch, (4 + epoch) * torch.nn.functional.one_hot(y, 3).float(), y)
        builder.add("val", epoch, epoch, logits, y)
    recording = builder.build()
    about = diagnose(recording, (over(recording, "loss_rises_accuracy_flat", 1, 12),))[0]
    found = {f.cause: f for f in about.findings}
    for cause in ("overfitting", "overconfidence", "underconfidence"):
        assert found[cause].verdict == "not_tested"
        assert "too few to tell a temperature from" in found[cause].statement
