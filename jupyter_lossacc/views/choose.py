"""Which view a recording gets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

    from jupyter_lossacc.views.plain import NoView

__all__ = ["in_notebook", "make_view"]


def in_notebook() -> bool:
    """Whether this code runs in a Jupyter kernel (without importing IPython to find out)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def make_view(view: str, save: str, stop: threading.Event, stop_later: threading.Event) -> NoView:
    """Return the view called `view`; outside a notebook, panel and figure become text."""
    from jupyter_lossacc.views.plain import NoView, TextView

    if view == "none":
        return NoView()
    if view == "text" or not in_notebook():
        return TextView()
    from jupyter_lossacc.views.panel.show import FigureView, PanelView

    return PanelView(save, stop, stop_later) if view == "panel" else FigureView(save)
