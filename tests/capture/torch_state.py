"""What of torch can be changed from outside, by identity: to see that nothing stays changed."""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.jit._builtins as jit_builtins
import torch.multiprocessing
import torch.nn.functional
from torch.optim import optimizer as torch_optimizer
from torch.utils.data import dataloader as torch_loader

OURS = "ours: "
OWNERS = (
    torch,
    torch._C._nn,
    torch.nn.functional,
    torch.autograd,
    torch.multiprocessing,
    torch.Tensor,
    torch.nn.Module,
    torch.optim.Optimizer,
    torch_loader,
    torch_loader._BaseDataLoaderIter,
    torch_loader._SingleProcessDataLoaderIter,
    torch_loader._MultiProcessingDataLoaderIter,
)


def torch_state() -> dict[str, Any]:
    """Return the identity of everything in torch that a recorder could have its hands on."""
    state: dict[str, Any] = {}
    for owner in OWNERS:
        for name, value in vars(owner).items():
            where = f"{getattr(owner, '__module__', '')}.{owner.__name__}.{name}"
            state[where] = id(value)
            if "lossacc" in name or str(getattr(value, "__module__", "")).startswith("jupyter_lossacc"):
                state[f"{OURS}{where}"] = True
            if isinstance(value, types.FunctionType):
                state[f"{where}.__code__"] = id(value.__code__)
    hooks = torch_optimizer._global_optimizer_pre_hooks, torch_optimizer._global_optimizer_post_hooks
    state["optimizer hooks"] = [list(h) for h in hooks]
    modules = torch.nn.modules.module
    state["module hooks"] = [list(v) for k, v in sorted(vars(modules).items()) if k.startswith("_global_")
                             and isinstance(v, dict)]  # fmt: skip
    state["scripting"] = len(jit_builtins._get_builtin_table())
    return state


def changed(before: dict[str, Any]) -> list[str]:
    """Names of what is no longer as it was, or is ours; torch itself adds names when they are first used."""
    now = torch_state()
    gone = [name for name, value in before.items() if now.get(name) != value]
    return sorted(gone + [name for name in now if name.startswith(OURS) and name not in before])


def left_over() -> list[str]:
    """Names of what is ours in torch now."""
    return [name for name in torch_state() if name.startswith(OURS)]
