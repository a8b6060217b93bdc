"""What the taps write down while the loop runs, in the order in which it happens.

A tap appends one tuple of references and returns: no arithmetic, no value read. `Journal.flush`
hands the tuples on, every so many entries, at the borders of passes, and at the end.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.taps.lane import Lane
    from jupyter_lossacc.capture.taps.loaders import LoaderPass
    from jupyter_lossacc.capture.taps.own_criteria import CriterionLearner

__all__ = [
    "ATTACK",
    "BACKWARD",
    "BATCH",
    "CRITERION",
    "INDEX",
    "INPUT",
    "LOSS",
    "MAX_FROZEN",
    "OPTIMIZER",
    "OUTPUT",
    "PASS_END",
    "PICKED",
    "PLACE",
    "PLAIN",
    "STEP",
    "UNITS",
    "Entry",
    "Journal",
]

Entry = Sequence[Any]
# First item of an entry; the layouts stand beside the taps that write them.
LOSS, BACKWARD, STEP, BATCH, PASS_END, INDEX, OPTIMIZER = range(7)
OUTPUT, CRITERION, INPUT, UNITS, PLAIN, PICKED, PLACE, ATTACK = range(7, 15)

MAX_ENTRIES = 320  # about 64 batches of loss, backward, step and batch
MAX_BYTES = 4 << 20
_MAX_BUFFERS = 64
MAX_FROZEN = 4096  # class weights kept as copies, in elements


class Journal:
    """Entries not yet read, and the little state that taps share.

    Parameters
    ----------
    read : callable
        Takes the entries of one flush.
    contain : callable
        Takes the name of a tap and the exception raised in it.
    """

    def __init__(
        self, read: Callable[[list[Entry]], None], contain: Callable[[str, Exception], None]
    ) -> None:
        self._read = read
        self.contain = contain
        self.entries: list[Entry] = []
        self.n_bytes = 0
        self.open = False
        self.owner = threading.get_ident()
        self.other_threads = 0
        self.missed = 0  # calls of taps while it was closed
        self.border = False  # a pass may have begun since the last flush
        self.no_grad = False  # whether the last loss was computed without gradients
        self.inside_step = 0  # an optimiser is running the user's closure
        self.n_steps = 0
        self.n_losses = 0
        self.n_light = 0  # entries that only tell where rows come from
        self.source: LoaderPass | None = None  # of the batch given last
        self.pending: dict[int, int] = {}  # autograd sequence number of a loss -> step at its call
        self._frozen: dict[int, tuple[weakref.ref[Tensor], int, Tensor]] = {}
        self.model: weakref.ref[torch.nn.Module] | None = None
        self.mode_layers: int | None = None  # layers of that model that depend on its mode
        self.evaluating: Callable[[], None] | None = None  # called at every loss without gradients
        self.mode: bool | None = None  # last mode set on any module
        self.pass_begins: Callable[[LoaderPass], None] | None = None  # called when a loader begins a pass
        self.first_batch: Callable[[], None] | None = None  # called when a loader gives its first batch
        self.find_model: Callable[[], None] | None = None  # called at the first loss
        self.learner: CriterionLearner | None = None  # while the user's own criterion is looked for
        self.wants_inputs = True  # samples may have to be recognised by what the model is given
        self.lane: Lane | None = None  # for steps that look like the last one
        self.copies = False  # the user writes into what criteria return: ``loss /= n``
        self._versions: dict[int, int] = {}  # of labels at the last loss on them, by address
        self.label_copies = False  # the user writes into the labels of a loss: ``label.fill_(0)``
        self.hold = 0  # a criterion of the user's is running: what it computes belongs together

    def here(self) -> bool:
        """Whether a tap should write: recording is on, and this is the thread that records."""
        if not self.open:
            self.missed += 1
            return False
        if threading.get_ident() == self.owner:
            return True
        self.other_threads += 1
        return False

    def are_written_anew(self, labels: Tensor) -> bool:
        """Whether labels were written into since the last loss on them: a buffer for every batch in turn.

        Such labels are copied, and a copy does not tell where its rows come from: labels that were filled
        in once, in however many steps, stay what they are.
        """
        version = labels._version
        if not version:
            return False
        address = labels.untyped_storage().data_ptr()
        before = self._versions.get(address, version)
        if len(self._versions) > _MAX_BUFFERS:
            self._versions.clear()
        self._versions[address] = version
        return before != version

    def training(self) -> bool | None:
        """``model.training`` at this moment; None when no model is known."""
        model = self.model() if self.model is not None else None
        return self.mode if model is None else model.training

    def frozen(self, value: Any) -> Any:
        """Return class weights as they are now: the user may change them in place before they are read."""
        if type(value) is not Tensor or value.numel() > MAX_FROZEN or value.is_inference():
            return value
        known = self._frozen.get(id(value))
        if known is None or known[0]() is not value or known[1] != value._version:
            if len(self._frozen) > 64:
                self._frozen.clear()
            known = (weakref.ref(value), value._version, value.detach().clone())
            self._frozen[id(value)] = known
        return known[2]

    def flush_if_due(self, *, border: bool = False) -> None:
        """Flush when enough has gathered, or when another pass has begun: the one before is then kept."""
        if self.hold:
            return
        full = len(self.entries) >= MAX_ENTRIES + self.n_light or self.n_bytes >= MAX_BYTES
        if full or (border and self.border):
            self.flush()

    def flush(self) -> None:
        """Hand over what has gathered; a failure is contained and costs only these entries."""
        entries, self.entries, self.n_bytes, self.n_light, self.border = self.entries, [], 0, 0, False
        was_open, self.open = self.open, False  # nothing that reading does may be recorded
        try:
            # The user may flush us from within autocast or inference mode.
            with torch.inference_mode(mode=False), torch.no_grad(), torch.autocast("cpu", enabled=False):
                self._read(entries)
        except Exception as error:
            self.contain("reading", error)
        finally:
            self.open = was_open


def is_plain(value: object) -> bool:
    """Whether a tensor's values are its own: no fake, functional or distributed tensor."""
    kind = type(value)
    return kind is Tensor or (
        isinstance(value, Tensor)
        and getattr(kind, "__torch_dispatch__", None) is getattr(Tensor, "__torch_dispatch__", None)
    )
