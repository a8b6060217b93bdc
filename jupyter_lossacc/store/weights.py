"""Model weights of a run, as safetensors: no pickle, no code, readable anywhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jupyter_lossacc.errors import StoreError
from jupyter_lossacc.store.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["load_weights", "stored_weights", "write_weights"]


def stored_weights(run_dir: Path) -> dict[int, Path]:
    """Return the files of stored weights by epoch, ascending."""
    found = {}
    for path in (run_dir / "weights").glob("epoch=*.safetensors"):
        epoch = re.fullmatch(r"epoch=(\d+)", path.stem)
        if epoch:
            found[int(epoch[1])] = path
    return dict(sorted(found.items()))


def load_weights(run_dir: Path, epoch: int) -> dict[str, Any]:
    """Return the ``state_dict`` stored for an epoch, on the CPU.

    Raises
    ------
    StoreError
        When none was kept for that epoch.
    """
    from safetensors.torch import load_file

    kept = stored_weights(run_dir)
    if epoch not in kept:
        have = f"epochs {', '.join(map(str, kept))}" if kept else "none"
        raise StoreError(
            f"No weights of epoch {epoch} are stored in {run_dir} (kept: {have}). Use --keep-weights best."
        )
    state: dict[str, Any] = load_file(kept[epoch])
    return state


def write_weights(run_dir: Path, epoch: int, state: Mapping[str, Any]) -> list[str]:
    """Write a ``state_dict`` and return the names of the entries that are no tensors."""
    from safetensors.torch import save

    # A copy each: safetensors refuses tensors that share memory (tied weights) and wants them contiguous.
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in state.items()
        if hasattr(value, "detach")
    }
    data = save(tensors, metadata={"format": "pt", "epoch": str(epoch)})
    write_whole(run_dir / "weights" / f"epoch={epoch:05d}.safetensors", lambda path: path.write_bytes(data))
    return sorted(set(state) - set(tensors))
