"""What ``%lossacc COMMAND`` does."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from IPython import get_ipython
from IPython.core.error import UsageError
from IPython.display import display

from jupyter_lossacc.errors import LossAccError, RunNotFoundError
from jupyter_lossacc.magic.options import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from jupyter_lossacc.run import Run

__all__ = ["COMMANDS", "LATER", "Command", "run_command"]

HELP = ("help", "-h", "--help")
LATER = ("compare", "watch")
SORT_COLUMNS = ("nll", "reported_loss", "confidence", "margin", "target_probability")


@dataclass(frozen=True)
class Command:
    """One sub-command of ``%lossacc``."""

    usage: str
    summary: str
    arguments: Callable[[Parser], object]
    run: Callable[[argparse.Namespace], Any]


def run_command(line: str, help_text: str) -> Any:
    """Run the command that `line` names; without one, show help and the state of the last run.

    Raises
    ------
    UsageError
        When there is no such command, or it cannot be done.
    """
    name, _, rest = line.strip().partition(" ")
    if not name or name in HELP:
        return _overview(help_text)
    if name in LATER:
        raise UsageError(
            f"%lossacc {name} is not part of this version yet. Available: {', '.join(COMMANDS)}."
        )
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        meant = f" Did you mean %lossacc {near[0]}?" if near else ""
        raise UsageError(
            f"%lossacc: expected one of {', '.join(COMMANDS)}, got {name!r}.{meant} To record a training "
            f"under this name, put %%lossacc {name} above its cell."
        )
    command = COMMANDS[name]
    parser = Parser(f"lossacc {name}", f"Write %lossacc {command.usage}; %lossacc? explains it.")
    command.arguments(parser)
    try:
        return command.run(parser.parse(rest))
    except (LossAccError, ValueError, KeyError) as error:
        raise UsageError(f"%lossacc {name}: {error.args[0] if error.args else error}") from None


def _overview(help_text: str) -> None:
    from jupyter_lossacc.session import last_recorder

    _write(help_text)
    recorder = last_recorder()
    if recorder is None or not recorder.runs:
        _write("No run in this session yet. %lossacc runs lists the stored ones.")
        return
    run = recorder.runs[-1]
    headlines = [diagnosis.headline for diagnosis in run.diagnose() if diagnosis.headline]
    _write("\n".join([f"Last run: {run!r}", *headlines, *run.limits]))


def _runs(arguments: argparse.Namespace) -> Any:
    from jupyter_lossacc.session import list_runs

    frame = list_runs(arguments.store)
    if len(frame):
        return frame
    _write("No stored runs there yet. Put %%lossacc above a training cell to record one.")
    return None


def _show(arguments: argparse.Namespace) -> None:
    from jupyter_lossacc.session import last_recorder
    from jupyter_lossacc.views.panel.show import show_run, show_running

    recorder = last_recorder()
    if arguments.run is None and recorder is not None and not recorder.runs and show_running():
        return  # the first epoch has not begun
    show_run(_find(arguments).findings)


def _report(arguments: argparse.Namespace) -> None:
    _markdown(_find(arguments).report())


def _explain(arguments: argparse.Namespace) -> None:
    from jupyter_lossacc.causes.pages import ids, page

    if arguments.cause is not None:
        _markdown(page(arguments.cause).markdown)
        return
    pages = [page(name) for name in ids()]
    lines = [f"- `%lossacc explain {p.id}` – {p.title}: {p.summary}" for p in pages]
    _markdown("\n".join(["What can be explained:", "", *lines]))


def _samples(arguments: argparse.Namespace) -> Any:
    run = _find(arguments)
    frame = run.samples(arguments.split, arguments.epoch)
    if arguments.wrong:
        frame = frame[frame["predicted"] != frame["target"]]
    # Most telling first: the highest loss, but the lowest margin or target probability.
    ascending = arguments.by in {"margin", "target_probability"}
    chosen = frame.sort_values(arguments.by, ascending=ascending).head(arguments.n)
    if not arguments.look:
        return chosen
    data = None if arguments.data is None else _evaluated(arguments.data)
    return run.look(chosen.index.tolist(), arguments.split, arguments.epoch, data)


def _evaluated(expression: str) -> object:
    shell = get_ipython()
    try:
        return None if shell is None else shell.ev(expression)
    except Exception as error:
        raise LossAccError(f"--data {expression}: {type(error).__name__}: {error}") from None


def _delete(arguments: argparse.Namespace) -> None:
    from jupyter_lossacc.session import delete_run

    delete_run(arguments.run, arguments.store)
    _write(f"Deleted {arguments.run}.")


def _demo(arguments: argparse.Namespace) -> None:
    """Show a small training that has a cause by construction, run it under the panel, name its page."""
    from jupyter_lossacc.magic.demos import DEMOS
    from jupyter_lossacc.session import record

    if arguments.cause is None:
        lines = [f"- `%lossacc demo {name}` – {demo.what}" for name, demo in DEMOS.items()]
        _markdown("\n".join(["Small trainings that have a cause by construction:", "", *lines]))
        return
    demo = DEMOS.get(arguments.cause)
    if demo is None:
        near = get_close_matches(arguments.cause, DEMOS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise LossAccError(f"there is a demo for {', '.join(DEMOS)}; got {arguments.cause!r}.{hint}")
    _markdown(f"```python\n{demo.source}```")
    # A namespace of its own: the user's variables stay as they are.
    with record(f"demo-{arguments.cause}", store="none"), _own_random_numbers():
        exec(compile(demo.source, "<lossacc demo>", "exec"), {"__name__": "__demo__"})  # noqa: S102 - our own text
    _markdown(f"What this pattern is, and is not: `%lossacc explain {arguments.cause}`")


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Give torch's random numbers back as they were: a demo must not change what the user runs next."""
    import torch

    with torch.random.fork_rng():
        yield


def _find(arguments: argparse.Namespace) -> Run:
    """Return the run that was asked for: of this session first, then of the store."""
    from jupyter_lossacc.session import last_recorder, list_runs, load_run

    recorder = last_recorder()
    recorded = recorder.runs if recorder is not None else ()
    if arguments.run is not None:
        for run in recorded:
            if arguments.run in {run.id, run.name}:
                return run
        return load_run(arguments.run, arguments.store)
    if recorded:
        return recorded[-1]
    stored = list_runs(arguments.store)
    if not len(stored):
        raise RunNotFoundError(
            "there is no run yet, neither in this session nor stored: put %%lossacc above a training cell."
        )
    return load_run(stored["id"].iloc[-1], arguments.store)


def _run_argument(parser: Parser, *, required: bool = False) -> None:
    parser.add_argument("run", metavar="RUN", nargs=None if required else "?", default=None)
    parser.add_argument("--store", metavar="DIR", default=None)


def _sample_arguments(parser: Parser) -> None:
    _run_argument(parser)
    parser.add_argument("--split", default="val")
    parser.add_argument("--epoch", type=int, default=-1)
    parser.add_argument("--by", choices=SORT_COLUMNS, default="nll")
    parser.add_argument("--wrong", action="store_true")
    parser.add_argument("-n", type=_positive, default=20)
    parser.add_argument("--look", action="store_true")
    parser.add_argument("--data", metavar="EXPR", default=None)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"expected a number of samples, got {text!r}")
    return int(text)


def _markdown(text: str) -> None:
    display({"text/markdown": text, "text/plain": text}, raw=True)


def _write(text: str) -> None:
    sys.stdout.write(text.rstrip() + "\n")


COMMANDS: dict[str, Command] = {
    "runs": Command(
        "runs [--store DIR]",
        "stored runs, the oldest first",
        lambda parser: parser.add_argument("--store", metavar="DIR", default=None),
        _runs,
    ),
    "show": Command("show [RUN]", "the panel of a run (default: the last one)", _run_argument, _show),
    "report": Command("report [RUN]", "a run's diagnosis in words", _run_argument, _report),
    "explain": Command(
        "explain [CAUSE]",
        "the page of a cause or of a kind of episode",
        lambda parser: parser.add_argument("cause", metavar="CAUSE", nargs="?", default=None),
        _explain,
    ),
    "samples": Command(
        "samples [RUN] [...]",
        "samples of one pass: --split val --epoch -1 --by nll --wrong -n 20 --look (show them) --data EXPR",
        _sample_arguments,
        _samples,
    ),
    "demo": Command(
        "demo [CAUSE]",
        "run a small training whose cause is known",
        lambda parser: parser.add_argument("cause", metavar="CAUSE", nargs="?", default=None),
        _demo,
    ),
    "delete": Command(
        "delete RUN", "delete a stored run", lambda parser: _run_argument(parser, required=True), _delete
    ),
}
