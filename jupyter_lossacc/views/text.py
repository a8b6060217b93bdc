"""The diagnosis in words: a few lines for a terminal, and a report in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Finding, Recording
from jupyter_lossacc.views.losses import loss_meant
from jupyter_lossacc.views.verdict import advice_line, headline, status_line, with_diagnosis
from jupyter_lossacc.views.words import (
    VERDICTS,
    asked,
    capitalized,
    cause_title,
    episode_title,
    evidence_words,
    here,
    interval,
    limits_of,
    measured,
    number,
    percent,
    quantity,
    reach,
    short_verdict,
    signed,
    typeset,
)

__all__ = ["report", "summary"]

Diagnoses = Sequence[Diagnosis]
MAX_NAMED = 10
MAX_NOTES = 3  # in the summary; the report has all


def summary(
    recording: Recording,
    episodes: Sequence[Episode],
    diagnoses: Diagnoses,
    advice: CheckpointAdvice | None,
) -> str:
    """Say in a few plain lines what was found and what to keep.

    Returns
    -------
    str
        Lines of text without markup: name and state, headline, episodes, causes, advice, limits.
    """
    lines = [f"lossacc {recording.info.name}: {status_line(recording, recording.status)}"]
    verdict = headline(recording, episodes, diagnoses).text
    lines.append(verdict)
    for episode, diagnosis in with_diagnosis(episodes, diagnoses):
        if episode.retracted:
            continue
        loss, accuracy = measured(episode.loss_change), measured(episode.accuracy_change)
        moved = f"along the trend: loss {loss}, accuracy {accuracy}"
        lines.append(f"- {episode_title(episode)} ({moved})")
        findings = diagnosis.supported if diagnosis is not None else ()
        lines += [f"    {cause_title(f.cause)}: {f.statement}" for f in findings]
    for diagnosis in diagnoses:
        if diagnosis.episode is None:
            # Where nothing is unusual, the verdict is the finding.
            lines += [f"- Whole run: {f.statement}" for f in diagnosis.supported if f.statement != verdict]
    said = advice_line(recording, advice)
    if said:
        lines.append(said)
    lines += [f"Note: {line}" for line in recording.limits[:MAX_NOTES]]
    if len(recording.limits) > MAX_NOTES:
        lines.append(f"{len(recording.limits) - MAX_NOTES} more notes in run.limits.")
    return "\n".join([lines[0], *map(typeset, lines[1:])])


def report(
    recording: Recording,
    episodes: Sequence[Episode],
    diagnoses: Diagnoses,
    advice: CheckpointAdvice | None,
) -> str:
    """Write the whole diagnosis as Markdown.

    Returns
    -------
    str
        Verdict, every episode with its causes and their evidence, the epoch to keep, and limits.
    """
    parts = [
        f"# {_md(recording.info.name)}: loss and accuracy",
        status_line(recording, recording.status) + ".",
    ]
    parts.append(f"**{headline(recording, episodes, diagnoses).text}**")
    for episode, diagnosis in with_diagnosis(episodes, diagnoses):
        parts += _episode(recording, episode, diagnosis)
    for diagnosis in diagnoses:
        if diagnosis.episode is None and diagnosis.findings:
            parts += ["## The whole run", *_findings(diagnosis.findings)]
    if advice is not None and (advice.epoch is not None or advice.reason):
        parts += _checkpoint(advice)
    limits = limits_of(recording, diagnoses)
    if limits:
        parts += ["## What could not be recorded or decided", _bullets(limits)]
    title, *rest = [part for part in parts if part]
    return "\n\n".join([title, *(p if p.startswith("```") else typeset(p) for p in rest)]) + "\n"


def _episode(recording: Recording, episode: Episode, diagnosis: Diagnosis | None) -> Iterator[str]:
    yield f"## {_md(episode_title(episode))}"
    yield f"*{short_verdict(episode, diagnosis)}*"
    if episode.retracted:
        yield "Shown earlier in the run; with the epochs since then it is no longer supported."
        return
    series = recording.series(episode.split)
    rows = []
    for name, change in (("Loss", episode.loss_change), ("Accuracy", episode.accuracy_change)):
        span = interval(change)
        rows.append(f"{name}: {measured(change)} along the trend" + (f" (95 %: {span})" if span else ""))
    n_samples = series[-1].n_samples if series else 0
    where, sure, why = here(episode, n_samples)
    answer, ground = reach(episode, n_samples)
    rows += [f"{capitalized(where)}: {sure} ({why})", f"On new data: {answer} ({ground})"]
    yield _bullets(rows)
    if diagnosis is not None:
        yield diagnosis.headline
        yield from _findings(diagnosis.findings)


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.verdict == "supported":
            yield from _supported(finding)
    told, unasked = asked(findings)
    others = [f for f in told if f.verdict != "supported"]
    if others:
        yield "Also examined:"
        yield _bullets(f"{cause_title(f.cause)}: {VERDICTS[f.verdict]}. {f.statement}" for f in others)
    if unasked:
        yield unasked


def _supported(finding: Finding) -> Iterator[str]:
    yield f"### {cause_title(finding.cause)}"
    share = ""
    if finding.share is not None:
        share = f" It accounts for {percent(finding.share.value)} of the {loss_meant(finding)} change."
    yield finding.statement + share
    if finding.evidence:
        yield _evidence(finding)
    if finding.counterfactual is not None:
        c = finding.counterfactual
        yield f"Without it: {c.name} {quantity(c.value, c.unit)} instead of {quantity(c.actual, c.unit)}."
    if finding.action:
        yield f"**What to try.** {finding.action}"
    if finding.experiment is not None:
        yield f"**How to verify.** {finding.experiment.prediction} {finding.experiment.result}".rstrip()
        if finding.experiment.code:
            yield f"```python\n{finding.experiment.code.rstrip()}\n```"
    if len(finding.sample_ids):
        named = ", ".join(str(int(i)) for i in finding.sample_ids[:MAX_NAMED])
        yield f"Samples to look at: {named}."


def _evidence(finding: Finding) -> str:
    rows = ["| evidence | here | decides at | speaks |", "|---|---:|---|---|"]
    for e in finding.evidence:
        speaks = "for" if e.supports else "against"
        value, threshold = evidence_words(e)
        rows.append(f"| {_md(e.name)} | {value} | {_md(threshold)} | {speaks} |")
    return "\n".join(rows)


def _checkpoint(advice: CheckpointAdvice) -> Iterator[str]:
    yield "## Which epoch to keep"
    yield " ".join(part for part in (advice.reason, advice.stop_reason) if part)
    if advice.alternatives:
        rows = [
            "| epoch | is | accuracy | loss | calibrated loss | kept minus this: accuracy | calibrated loss |"
        ]
        rows.append("|---:|---|---:|---:|---:|---:|---:|")
        rows += [
            f"| {a.epoch} | {_md(a.name)} | {percent(a.accuracy)} | {number(a.nll)} "
            f"| {number(a.calibrated_nll)} | {measured(a.accuracy_difference)} "
            f"| {signed(a.calibrated_nll_difference.value)} |"
            for a in advice.alternatives
        ]
        yield "\n".join(rows)
    yield advice.optimism


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _md(text: str) -> str:
    """Keep a name from being read as markup or as a table's border."""
    for mark in "\\`*_[]<|":
        text = text.replace(mark, "\\" + mark)
    return text.replace("\n", " ")
