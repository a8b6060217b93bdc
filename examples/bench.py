"""What recording costs: the quickstart's own training, with and without it, in turns.

Prints CPU seconds per run and the ratio of each adjacent pair; CPU time is steadier than the clock.
"""

import re
import statistics
import time

import torch
from quickstart_seeds import training_cells

import jupyter_lossacc as la

PAIRS = 5
EPOCHS = 20


def train(record: bool) -> float:
    """Train once and return the CPU seconds of the training cell."""
    before, training = training_cells()
    training = re.sub(r"range\(1, \d+\)", f"range(1, {EPOCHS + 1})", training)
    names: dict[str, object] = {"print": lambda *_: None}
    exec(before, names)  # noqa: S102 - the notebook beside this file
    start = time.process_time()
    if record:
        with la.record("bench", store="none", view="none"):
            exec(training, names)  # noqa: S102
    else:
        exec(training, names)  # noqa: S102
    return time.process_time() - start


def main() -> None:
    """Measure pairs and print them."""
    torch.set_num_threads(1)
    train(record=True)  # imports and caches are paid once
    ratios = []
    for pair in range(PAIRS):
        without, with_it = train(record=False), train(record=True)
        ratios.append(with_it / without)
        print(
            f"pair {pair + 1}: {without:.2f} s without, {with_it:.2f} s with, ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} over {EPOCHS} epochs")


if __name__ == "__main__":
    main()
