"""Every demo shows what it says: its cause is supported, and a healthy one stays silent."""

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import jupyter_lossacc as la
from jupyter_lossacc.causes.pages import ids
from jupyter_lossacc.magic.demos import DEMOS

QUICK = (
    "overfitting",
    "class_imbalance",
    "double_softmax",
    "unshuffled_training",
    "label_shift",
    "fluctuation",
)


def test_every_demo_is_a_cause_with_a_page() -> None:
    assert set(DEMOS) <= set(ids())


@pytest.mark.parametrize("cause", QUICK)
def test_the_cause_is_found(cause: str) -> None:
    with la.record(store="none", view="none"):
        exec(compile(DEMOS[cause].source, "demo", "exec"), {})
    run = la.last_run()
    supported = {finding.cause for d in run.diagnose() for finding in d.supported}
    assert cause in supported
    if cause == "fluctuation":
        assert not [e for e in run.episodes if e.harmful]


def test_a_demo_leaves_no_trace_in_the_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell()
    la.load_ipython_extension(shell)
    shell.user_ns["model"] = "mine"
    state = torch.get_rng_state()
    done = shell.run_cell("%lossacc demo label_shift")
    la.unload_ipython_extension(shell)
    assert done.error_in_exec is None
    assert shell.user_ns["model"] == "mine"
    assert torch.equal(state, torch.get_rng_state())
    assert "lossacc demo-label_shift: Finished" in capsys.readouterr().out
