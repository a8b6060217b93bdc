"""Tracebacks of a recorded training: the user's own frames, none of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["drop_taps"]

_TAPS = "jupyter_lossacc.capture."


def drop_taps(error: BaseException | None) -> None:
    """Take the frames of our taps out of an error that went through them, and out of its causes.

    They stand between the user's call and torch's function that raised, and say nothing. An error
    that we raised ourselves keeps them.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        if last is not None and (
            not _is_ours(last) or "__tracebackhide__" in last.tb_frame.f_code.co_varnames
        ):
            error.__traceback__ = _without_taps(error.__traceback__)
        error = error.__cause__ or error.__context__


def _is_ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith(_TAPS)


def _without_taps(trace: TracebackType | None) -> TracebackType | None:
    kept = []
    while trace is not None:
        if not _is_ours(trace):
            kept.append(trace)
        trace = trace.tb_next
    for one, following in zip(kept, [*kept[1:], None], strict=True):
        one.tb_next = following
    return kept[0] if kept else None
