"""Reversible patches: attributes and function bodies, undone in reverse order whatever happens."""

from __future__ import annotations

import types
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

__all__ = ["Patches", "trampoline"]

Make = Callable[[Callable[..., Any]], Callable[..., Any]]
_MISSING = object()


def _signature(code: types.CodeType) -> tuple[str, str]:
    """Parameters of `code` as source, and the arguments that pass them on."""
    names = list(code.co_varnames)
    n_positional, n_keyword = code.co_argcount, code.co_kwonlyargcount
    positional, keyword = names[:n_positional], names[n_positional : n_positional + n_keyword]
    rest = names[n_positional + n_keyword :]
    parameters = list(positional)
    if code.co_posonlyargcount:
        parameters.insert(code.co_posonlyargcount, "/")
    passed = list(positional)
    if code.co_flags & 0x04:
        star = rest.pop(0)
        parameters.append(f"*{star}")
        passed.append(f"*{star}")
    elif keyword:
        parameters.append("*")
    parameters += keyword
    passed += [f"{name}={name}" for name in keyword]
    if code.co_flags & 0x08:
        double = rest.pop(0)
        parameters.append(f"**{double}")
        passed.append(f"**{double}")
    return ", ".join(parameters), ", ".join(passed)


def trampoline(code: types.CodeType, tap: str) -> types.CodeType:
    """Code with the signature of `code` that calls the global named `tap` with its arguments.

    Free variables must be real ones: a code object that only claims to have them crashes the
    interpreter when a debugger reads the frame's locals.
    """
    parameters, passed = _signature(code)
    if code.co_freevars:
        cells = "".join(f"    {name} = None\n" for name in code.co_freevars)
        keep = ", ".join(code.co_freevars)
        body = f"        return {tap}({passed})\n        {keep}\n"
        source = (
            f"def outer():\n{cells}    def inner({parameters}):\n{body}    return inner\ninner = outer()\n"
        )
    else:
        source = f"def inner({parameters}):\n    return {tap}({passed})\n"
    namespace: dict[str, Any] = {}
    exec(compile(source, code.co_filename, "exec"), namespace)  # noqa: S102 - built from parameter names only
    made: types.CodeType = namespace["inner"].__code__
    if made.co_freevars != code.co_freevars:
        raise ValueError(f"free variables of {code.co_name} cannot be kept")
    changes: dict[str, Any] = {"co_name": code.co_name, "co_firstlineno": code.co_firstlineno}
    if hasattr(code, "co_qualname"):
        changes["co_qualname"] = code.co_qualname
    return made.replace(**changes)


class Patches:
    """What was changed, and how to change it back."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def undo(self) -> None:
        """Undo everything, last change first; safe to call twice."""
        self._stack.close()

    def callback(self, undo: Callable[[], Any]) -> None:
        """Register how to undo something that was changed elsewhere."""
        self._stack.callback(undo)

    def attribute(self, owner: Any, name: str, make: Make) -> None:
        """Replace ``owner.name`` by ``make(original)``; nothing happens where it does not exist."""
        original = getattr(owner, name, None)
        if original is None:
            return
        had = vars(owner).get(name, _MISSING)
        new = make(original)
        setattr(owner, name, new)

        def restore() -> None:
            if vars(owner).get(name) is not new:
                return  # someone patched over ours: theirs stays, ours is inert
            if had is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, had)

        self._stack.callback(restore)

    def code(self, function: Any, make: Make) -> None:
        """Make every alias of a Python function call ``make(original)``.

        The function keeps its identity and signature; only its code object changes.
        """
        if not isinstance(function, types.FunctionType):
            return
        before = function.__code__
        original = types.FunctionType(
            before, function.__globals__, function.__name__, function.__defaults__, function.__closure__
        )
        original.__kwdefaults__ = function.__kwdefaults__
        tap = f"__lossacc_{id(function):x}__"
        function.__globals__[tap] = make(original)
        after = trampoline(before, tap)
        function.__code__ = after

        def restore() -> None:
            if function.__code__ is after:
                function.__code__ = before
                function.__globals__.pop(tap, None)

        self._stack.callback(restore)
