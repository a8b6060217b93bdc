"""``torch.jit.script`` compiles a module's hooks with it: ours are put aside meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.jit._recursive as recursive

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["hide_hooks_from_scripting"]


def hide_hooks_from_scripting(patches: Patches) -> None:
    """Let a module be scripted as if it carried no hook of ours."""

    def make(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def hook_stubs(module: Any) -> Any:
            aside = [
                (hooks, _take_ours(hooks)) for hooks in (module._forward_hooks, module._forward_pre_hooks)
            ]
            try:
                return original(module)
            finally:
                for hooks, ours in aside:
                    hooks.update(ours)

        return hook_stubs

    patches.attribute(recursive, "get_hook_stubs", make)


def _take_ours(hooks: dict[int, Any]) -> dict[int, Any]:
    """Take our hooks out of a module's table and return them."""
    ours = [key for key, hook in hooks.items() if type(hook).__module__.startswith("jupyter_lossacc.")]
    return {key: hooks.pop(key) for key in ours}
