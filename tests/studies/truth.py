"""What was planted: the change of loss and accuracy in the population, from many samples."""

from __future__ import annotations

from tests.studies.measure import RISES
from tests.studies.simulated import planted

SAMPLES, SEED = 100_000, 5


def planted_truth() -> list[dict[str, float]]:
    """Change from the 20th to the 40th epoch, one row per column of the power table."""
    rows = []
    for rise in RISES:
        series = planted(n_samples=SAMPLES, accuracy_rise=rise, seed=SEED).series("val")
        rows.append(
            {
                "rise": rise,
                "loss": series[39].reported_loss - series[19].reported_loss,
                "accuracy": series[39].accuracy - series[19].accuracy,
            }
        )
    return rows
