"""Mode mismatch: a pass ran in the wrong mode, so dropout and batch normalisation did the wrong thing."""

from __future__ import annotations

from jupyter_lossacc.causes.cause import Cause, evidence, not_tested, spoken
from jupyter_lossacc.records import Episode, EpochSummary, Experiment, Finding, Recording, Verdict

__all__ = ["CAUSE", "examine"]

ID = "mode_mismatch"
CODE = """for epoch in range(epochs):
    model.train()              # before the training batches, every epoch
    train_one_epoch()
    model.eval()               # before the validation batches, every epoch
    with torch.no_grad():
        validate()
"""


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether evaluations ran in training mode, or training in evaluation mode."""
    if episode is not None:
        return None
    passes = [s for s in recording.summaries if s.complete and s.n_samples]
    evaluated = [s for s in passes if s.split != "train" and s.epoch > 0]
    trained = [s for s in passes if s.split == "train"]
    if not evaluated and not trained:
        return not_tested(ID, "No pass was recorded.")
    wrong = [s for s in evaluated if s.training]
    if wrong:
        return _finding(wrong, len(evaluated), "in training mode", "model.eval()")
    # Training mode in the first epoch and never again: model.train() was forgotten after an evaluation.
    lost = [s for s in trained[1:] if not s.training] if trained and trained[0].training else []
    if lost and len(lost) == len(trained) - 1:
        return _finding(lost, len(trained), "in evaluation mode", "model.train()")
    if trained and not any(s.training for s in trained) and (trained[-1].mode_layers or 0) > 0:
        found = _finding(trained, len(trained), "in evaluation mode", "model.train()")
        return Finding(
            cause=ID,
            verdict="undecided",
            statement=found.statement + " Fine-tuning with frozen statistics does this on purpose.",
            evidence=found.evidence,
            experiment=found.experiment,
        )
    return Finding(
        cause=ID,
        verdict="rejected",
        statement=f"All {len(evaluated)} evaluations ran in evaluation mode and training in training mode.",
        evidence=(evidence("passes in the wrong mode", 0.0, "passes", "> 0", False),),
    )


def _finding(wrong: list[EpochSummary], total: int, mode: str, call: str) -> Finding:
    last = wrong[-1]
    layers = last.mode_layers
    verdict: Verdict = "supported" if layers else "undecided" if layers is None else "rejected"
    which = spoken(last.split)
    behave = "layer that behaves" if layers == 1 else "layers that behave"
    effect = {
        "supported": f"The model has {layers} {behave} differently there.",
        "undecided": "Whether the model has layers that behave differently there (dropout, batch "
        "normalisation) is not known.",
        "rejected": "The model has no layer that behaves differently there, so nothing changed.",
    }[verdict]
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=f"{len(wrong)} of {total} {which} passes, the last in epoch {last.epoch}, ran {mode}. "
        f"{effect}",
        because=f"{len(wrong)} of {total} {which} passes ran {mode}",
        evidence=(
            evidence("passes in the wrong mode", float(len(wrong)), "passes", "> 0", True),
            evidence(
                "layers that depend on the mode",
                float("nan") if layers is None else float(layers),
                "layers",
                "> 0",
                bool(layers),
            ),
        ),
        action=f"Call {call} before these passes, in every epoch." if verdict != "rejected" else "",
        experiment=Experiment(
            code=CODE,
            prediction=f"With {call} the {which} loss of the same weights is the same each time it is "
            "computed, and usually lower. If it does not change at all, the mode was not the reason.",
        )
        if verdict != "rejected"
        else None,
        strength=len(wrong) / total,
    )


CAUSE = Cause(ID, examine, "run")
