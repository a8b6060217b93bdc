"""``%%lossacc`` and ``%lossacc``: how a notebook reaches everything else.

The line ``%%lossacc ...`` becomes a private line magic before IPython runs the cell, so the cell is
run by IPython itself: line numbers, ``await``, the last expression, tracebacks and "Run All" are
what they are without us. The magic starts a recorder; the end of the cell finishes it.
"""

from jupyter_lossacc.magic.cell import load, unload

__all__ = ["load", "unload"]
