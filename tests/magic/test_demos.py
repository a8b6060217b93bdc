"""Every demo shows what it says: its cause is supported, and a healthy one stays silent."""

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import jupyter_lossacc as la
from jupyter_lossacc.causes import CAUSES
from jupyter_lossacc.magic.demos import DEMOS
from tests.causes.page_numbers import unsaid
from tests.demos import demo


def test_every_cause_has_a_demo() -> None:
    assert set(DEMOS) == {cause.id for cause in CAUSES}


@pytest.mark.parametrize("cause", DEMOS)
def test_the_cause_is_found(cause: str) -> None:
    run = demo(cause)
    findings = [finding for d in run.diagnose() for finding in d.findings]
    assert cause in {f.cause for f in findings if f.verdict == "supported"}
    assert unsaid(findings) == []
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
