"""A matplotlib figure that a notebook shows; imports matplotlib, so it is itself imported late."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

__all__ = ["Picture"]


class Picture(Figure):
    """A figure outside pyplot that shows itself.

    IPython draws matplotlib's figures only once pyplot has been imported; until then the last line of a
    cell would print ``<Figure size 900x520 with 2 Axes>``.
    """

    def _repr_png_(self) -> bytes:
        drawn = BytesIO()
        self.savefig(drawn, format="png")
        return drawn.getvalue()
