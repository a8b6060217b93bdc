"""No framework is loaded to look for it, and one that is imported below the magic is found all the same."""

import subprocess
import sys

import pytest

HEAD = """
import sys, torch, jupyter_lossacc as la
from torch.utils.data import DataLoader, TensorDataset
data = TensorDataset(torch.randn(20, 4), torch.randint(0, 2, (20,)))
model = torch.nn.Linear(4, 2)
"""
PLAIN = """
optimizer = torch.optim.SGD(model.parameters(), 0.1)
with la.record(store="none", view="none") as recorder:
    for x, y in DataLoader(data, 5):
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
assert len(recorder.run.steps) == 4
names = ("lightning", "transformers", "accelerate", "datasets", "fastai", "skorch", "ignite")
print(sorted(set(names) & set(sys.modules)))
"""
INSIDE = """
with la.record(store="none", view="none", keep="all") as recorder:
    from fastai.tabular.all import DataLoader as Own, DataLoaders, Learner
    dls = DataLoaders(Own(data, bs=5), Own(data, bs=5))
    learner = Learner(dls, model, loss_func=torch.nn.CrossEntropyLoss())
    with learner.no_bar(), learner.no_logging():
        learner.fit(2, 0.1)
run = recorder.run
print(len(run.steps), run.samples("train", 2).index.tolist() == list(range(20)), run.limits)
"""


@pytest.mark.parametrize(
    ("code", "printed"),
    [(PLAIN, "[]"), (INSIDE, "8 True ()")],
    ids=["not loaded", "imported below the magic"],
)
def test_apart(code: str, printed: str) -> None:
    done = subprocess.run([sys.executable, "-c", HEAD + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == printed
