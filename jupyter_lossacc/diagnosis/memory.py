"""What was said of a running training, so that its reader is not told another thing at every look.

An answer that lies near its threshold changes with every epoch. While a run goes on, a cause that is seen
for the first time has to be seen at the next look too; one that is no longer seen stands for one look more,
as of the epoch at which it was seen; and one that was taken back has to be seen twice as often as the last
time. Card and headline are made of the same findings, so they agree. A run that has ended is judged by what
its records say alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jupyter_lossacc.causes.pages import page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_lossacc.records import Episode, Finding

__all__ = ["Memory"]

# Of the run, these rest on where its lowest loss happens to lie, or on a level that has just been reached.
_WAITS = frozenset(
    {"overconfidence", "underconfidence", "overfitting", "confident_errors"}
    | {"growing_confidence", "capacity_or_noise"}
)
_AT_ONCE = frozenset({"learning_rate_too_high"})  # a training that breaks down waits for nobody
_ANSWERS_LAST = frozenset({"fluctuation"})  # says what is so where no other cause does
LOOKS = 2  # in a row, to say what waits, and to take back what was said
MOST_LOOKS = 16
_About = tuple[str, str, int] | None


@dataclass(slots=True)
class _Said:
    """What the reader was told of one cause."""

    finding: Finding | None = None  # as it was last seen; None while it is not said
    seen: int = -1  # epoch of that
    looked: int = -1  # newest epoch of the last look
    otherwise: int = 0  # looks in a row that disagree with what is said
    taken_back: int = 0  # times


class Memory:
    """Remembers over the looks at one running training which causes were said."""

    def __init__(self) -> None:
        self._said: dict[tuple[_About, str], _Said] = {}

    def steadied(
        self, episode: Episode | None, findings: Iterable[Finding], epoch: int
    ) -> tuple[list[Finding], list[str]]:
        """Return what to say after the look at `epoch`, and what stands only as of an earlier one.

        Parameters
        ----------
        episode : Episode, optional
            What the findings are about; None for the run as a whole.
        findings : iterable of Finding
            As examined at this look.
        epoch : int
            Newest epoch that was looked at; a second look at the same one counts for nothing.
        """
        about = None if episode is None else (episode.split, episode.kind, episode.start_epoch)
        told, notes = [], []
        for finding in findings:
            if finding.cause in _ANSWERS_LAST:
                told.append(finding)
                continue
            said = self._said.setdefault((about, finding.cause), _Said())
            answer = _next(said, finding, epoch, waits=about is None and finding.cause in _WAITS)
            told.append(answer)
            if answer is not finding and answer.verdict == "supported":
                as_of = f"{page(finding.cause).title} is said as of epoch {said.seen}"
                notes.append(f"{as_of}; epoch {epoch} alone does not show it.")
        return told, notes


def _next(said: _Said, finding: Finding, epoch: int, *, waits: bool) -> Finding:
    new, said.looked = epoch > said.looked, max(epoch, said.looked)
    found = finding.verdict == "supported"
    if found == (said.finding is not None):
        said.otherwise = 0
    else:
        said.otherwise += new
    if found:
        needed = (LOOKS if waits else 1) * 2**said.taken_back
        if finding.cause in _AT_ONCE or said.finding is not None or said.otherwise >= min(needed, MOST_LOOKS):
            said.finding, said.seen, said.otherwise = finding, epoch, 0
            return finding
        wait = "Seen at the newest epochs only: it is said when the next ones show it too."
        return replace(finding, verdict="undecided", statement=f"{finding.statement} {wait}")
    if said.finding is None:
        return finding
    if said.otherwise < LOOKS:
        return said.finding
    said.finding, said.otherwise = None, 0
    said.taken_back += 1
    return finding
