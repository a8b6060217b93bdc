"""The options of ``%%lossacc``: parsed, evaluated, and refused in one sentence."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser

from jupyter_lossacc.magic.words import split_words

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Parser", "cell_options", "cell_parser"]


class Parser(MagicArgumentParser):
    """An argument parser whose errors are sentences that end with what to do."""

    def __init__(self, prog: str, help_hint: str) -> None:
        super().__init__(prog=prog, usage=argparse.SUPPRESS, formatter_class=argparse.HelpFormatter)
        self.allow_abbrev = False
        self.color = False  # Python 3.14 colours help texts for terminals
        self.help_hint = help_hint

    def error(self, message: str) -> NoReturn:
        """Raise the parser's message as a `UsageError`."""
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        choice = re.match(r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.*)\)", message)
        if choice:
            choices = choice[3].replace("'", "")
            what = f"Expected {choice[1]} to be one of {choices}; got {choice[2]!r}."
        elif unknown:
            known = [option for action in self._actions for option in action.option_strings]
            near = get_close_matches(unknown[1].partition("=")[0], known, 1, cutoff=0.7)
            meant = f" Did you mean {near[0]}?" if near else ""
            what = f"Expected one of its options, got {unknown[1]!r}.{meant}"
        else:
            what = f"{message[:1].upper()}{message[1:].rstrip('.')}."
        raise UsageError(f"%{self.prog}: {what} {self.help_hint}")

    def parse(self, line: str) -> argparse.Namespace:
        """Parse the text after the magic's name."""
        try:
            words = split_words(line)
        except ValueError as error:
            self.error(str(error))
        return self.parse_args(words)


CHOICES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "--keep": (
        ("val", "all", "none"),
        "val",
        "Whose per-sample records are stored: of evaluated splits, also of training passes, or of none",
    ),
    "--keep-weights": (
        ("best", "none"),
        "none",
        "Keep the weights of the epochs that may be advised, as safetensors",
    ),
    "--view": (
        ("panel", "figure", "text", "none"),
        "panel",
        "What is shown: the live panel, a figure at the end, words, or nothing",
    ),
    "--save": (
        ("html", "static", "none"),
        "html",
        "What stays in the saved notebook: the interactive panel, its picture, or words",
    ),
}


def cell_parser() -> Parser:
    """Return the parser of ``%%lossacc``; its help text is the magic's documentation."""
    parser = Parser("%lossacc", "The cell was not run; %%lossacc? shows every option.")
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", default="", help="Name of the run (default: run).")
    add(
        "--split",
        metavar="NAME=EXPR",
        action="append",
        default=[],
        help="Name a loader or dataset that exists before the cell runs, e.g. val=valid_loader; may be given "
        "several times (default: train, val and test are told apart by how the loop uses them).",
    )
    add("--classes", metavar="EXPR", help="Class names in order of their index (default: 0, 1, 2, ...).")
    add("--store", metavar="DIR", help="Folder of the runs, or none: memory only (default: ./lossacc_runs).")
    add(
        "--resume",
        metavar="RUN",
        nargs="?",
        const="",
        help="Continue a stored run, by id or name; without RUN the latest one (default: a new run). "
        "--split, --classes, --store, --keep and --keep-weights of the cell before hold on unless given. "
        "After a restart of the kernel, give --split again.",
    )
    for option, (choices, default, text) in CHOICES.items():
        add(
            option,
            choices=choices,
            metavar="|".join(choices),
            default=default,
            help=f"{text} (default: {default}).",
        )
    return parser


def cell_options(
    line: str, evaluate: Callable[[str], Any], reserved: Sequence[str], parser: Parser
) -> dict[str, Any]:
    """Parse the ``%%lossacc`` line into the keyword arguments of `jupyter_lossacc.record`.

    Parameters
    ----------
    line : str
    evaluate : callable
        Evaluates an expression in the user's namespace.
    reserved : sequence of str
        Words that cannot name a run, because ``%lossacc`` gives them a meaning.
    parser : Parser

    Raises
    ------
    UsageError
        For anything that cannot be used: what was expected, what came, what to do.
    """
    options = vars(parser.parse(line))
    if options["name"] in reserved:
        parser.error(
            f"expected a name for the run, got {options['name']!r}, which is a command: write "
            f"%lossacc {options['name']} in a cell of its own, or choose another name"
        )
    options["split"] = _splits(options["split"], evaluate, parser)
    if options["classes"] is not None:
        value = _evaluated("--classes", options["classes"], evaluate, parser)
        options["classes"] = _class_names(options["classes"], value, parser)
    else:
        options["classes"] = ()
    options["store"] = _store(options["store"], parser)
    return options


def _splits(given: Sequence[str], evaluate: Callable[[str], Any], parser: Parser) -> dict[str, Any]:
    from jupyter_lossacc.session.options import is_data  # loads more than `%load_ext` should

    splits: dict[str, Any] = {}
    for text in given:
        name, equals, expression = (part.strip() for part in text.partition("="))
        if not (re.fullmatch(r"[^\W\d][\w.-]*", name) and equals and expression):
            parser.error(f"expected --split NAME=EXPR such as --split val=valid_loader, got {text!r}")
        if name in splits:
            parser.error(f"expected each split to be named once, got --split {name}=... twice")
        value = _evaluated("--split", expression, evaluate, parser)
        if not is_data(value):
            parser.error(
                f"expected a DataLoader or a dataset for --split {name}, got {expression} = {_short(value)}"
            )
        splits[name] = value
    return splits


def _evaluated(option: str, expression: str, evaluate: Callable[[str], Any], parser: Parser) -> Any:
    try:
        return evaluate(expression)
    except Exception as error:
        hint = (
            " Options are read before the cell runs: define it in an earlier cell"
            if isinstance(error, NameError)
            else ""
        )
        parser.error(
            f"expected {option} to hold a Python expression, but {expression!r} gives "
            f"{type(error).__name__}: {error}.{hint}"
        )


def _class_names(expression: str, value: Any, parser: Parser) -> tuple[str, ...]:
    """Accept names in order, ``{0: "cat"}``, and ``{"cat": 0}`` as torchvision's `class_to_idx`."""
    if isinstance(value, Mapping):
        by_index = {v: k for k, v in value.items()} if all(isinstance(k, str) for k in value) else dict(value)
        if set(by_index) == set(range(len(by_index))):
            value = [by_index[index] for index in range(len(by_index))]
    names = (
        list(value) if hasattr(value, "__iter__") and not isinstance(value, str | bytes | Mapping) else None
    )
    if not names or not all(isinstance(name, str) for name in names):
        parser.error(
            f'expected --classes to give the class names in order, such as ["cat", "dog"], got {expression} '
            f"= {_short(value)}"
        )
    return tuple(map(str, names))


def _store(text: str | None, parser: Parser) -> str | None:
    if text is None or text == "none":
        return text
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        parser.error(f"expected --store to be a folder or none, got the file {text}")
    return str(path)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return (
        f"{text[:60]}... ({type(value).__name__})" if len(text) > 60 else f"{text} ({type(value).__name__})"
    )
