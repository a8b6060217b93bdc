"""A number with its uncertainty and its unit."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan

__all__ = ["Estimate"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval.

    Parameters
    ----------
    value : float
        Point estimate.
    low, high : float
        Ends of the 95 % interval; NaN when no interval could be computed.
    unit : str
        ``"nats"``, ``"share"`` (of accuracy or of a change), ``"epochs"`` or ``"1"``.

    Examples
    --------
    >>> Estimate(0.1, 0.05, 0.15, "nats").excludes_zero
    True
    """

    value: float
    low: float = nan
    high: float = nan
    unit: str = "1"

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return not isnan(self.low) and (self.low > 0 or self.high < 0)
