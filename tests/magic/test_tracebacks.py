"""Errors in a recorded cell look as they do without us."""

import re

import pytest
from IPython.core.interactiveshell import InteractiveShell

import jupyter_lossacc as la
from jupyter_lossacc.session.traces import drop_taps

INDEX_ERROR = """import torch, torch.nn.functional as F
def criterion(z, y):
    return F.cross_entropy(z, y)
criterion(torch.randn(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 9])).backward()
"""
IN_BACKWARD = """import torch
class Bad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.sum()
    @staticmethod
    def backward(ctx, g): raise RuntimeError("the user's own")
Bad.apply(torch.ones(3, requires_grad=True)).backward()
"""
IN_DATASET = """from torch.utils.data import DataLoader
class Data:
    def __len__(self): return 3
    def __getitem__(self, i):
        raise KeyError(i)
list(DataLoader(Data()))
"""


def shown(shell: InteractiveShell, capsys: pytest.CaptureFixture[str], cell: str) -> str:
    capsys.readouterr()
    shell.run_cell(cell)
    out = capsys.readouterr()
    return re.sub(r"\x1b\[[\d;]*m|-{60,}", "", out.out + out.err)


@pytest.mark.parametrize("cell", [INDEX_ERROR, IN_BACKWARD, IN_DATASET, "1/0\n"])
def test_a_traceback_is_the_users_own(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], cell: str
) -> None:
    recorded = shown(shell, capsys, f"%%lossacc broken --store none --view none\n{cell}")
    bare = shown(shell, capsys, f"# %%lossacc broken --store none --view none\n{cell}")
    # Not the name alone: the folder of a clone has it too.
    assert not re.search(r"jupyter_lossacc[/\\](capture|magic|session)", recorded)
    numbers = re.compile(r"In ?\[\d+\]|dataloader.py:\d+|__init__.py:\d+|functional.py:\d+")
    # IPython numbers its lines before ours is taken back; torch's own frames lie where they lay.
    ours, theirs = (numbers.sub("", text).splitlines() for text in (recorded, bare))
    users = [line for line in theirs if "Cell" in line or "---->" in line]
    assert [line for line in ours if "Cell" in line or "---->" in line] == users
    assert ours[-1] == theirs[-1]
    assert "showtraceback" not in vars(shell)


def test_a_script_sees_its_own_frames_too(tmp_path) -> None:
    def names(error: BaseException) -> list[str]:
        frames, trace = [], error.__traceback__
        while trace is not None:
            frames.append(str(trace.tb_frame.f_globals["__name__"]))
            trace = trace.tb_next
        return frames

    def run(record: bool) -> list[str]:
        with pytest.raises(IndexError) as caught:  # noqa: PT012 - a whole script
            if record:
                with la.record("script", store="none", view="none"):
                    exec(INDEX_ERROR, {"__name__": "script"})
            else:
                exec(INDEX_ERROR, {"__name__": "script"})
        return names(caught.value)

    assert run(record=True) == run(record=False)


def test_an_error_of_our_own_keeps_its_frames() -> None:
    with (
        la.record("open", store="none", view="none") as recorder,
        pytest.raises(ValueError, match="Expected logits") as caught,
    ):
        recorder.log_batch(split="val", epoch=1, logits=[[[1.0]]], targets=[0])
    before = caught.value.__traceback__
    drop_taps(caught.value)
    assert caught.value.__traceback__ is before
