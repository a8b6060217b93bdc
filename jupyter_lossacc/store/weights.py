"""Model weights of a run, as safetensors: no pickle, no code, readable anywhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jupyter_lossacc.errors import StoreError
from jupyter_lossacc.store.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["load_weights", "restore_weights", "stored_weights", "write_weights"]

WRAPPERS = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put before names


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


def restore_weights(model: Any, run_dir: Path | None, epoch: int | None) -> int:
    """Load stored weights into a model, all of them or none; return their epoch.

    Parameters
    ----------
    model : torch.nn.Module
        It may be wrapped otherwise (DistributedDataParallel, torch.compile) than the trained one.
    run_dir : Path, optional
        None for a run that was kept in memory.
    epoch : int, optional
        None where no epoch can be advised.

    Raises
    ------
    StoreError
        When that epoch's weights were not kept, or belong to another model.
    """
    kept = () if run_dir is None else tuple(stored_weights(run_dir))
    if run_dir is None or epoch is None or epoch not in kept:
        have = f"kept are those of epochs {', '.join(map(str, kept))}" if kept else "none were kept"
        raise StoreError(
            f"Expected stored weights of epoch {epoch}, but {have}. `%%lossacc --keep-weights best`, with a "
            "store, keeps the epochs that may be advised."
        )
    theirs = {_bare(name): value for name, value in load_weights(run_dir, epoch).items()}
    own = {_bare(name): (name, value) for name, value in model.state_dict().items()}
    tensors = {name for name, (_, value) in own.items() if hasattr(value, "shape")}
    wrong = [f"{name} is missing here" for name in sorted(theirs.keys() - own.keys())]
    wrong += [f"{name} was not trained" for name in sorted(tensors - theirs.keys())]
    wrong += [
        f"{name} has shape {tuple(own[name][1].shape)} here, {tuple(value.shape)} there"
        for name, value in theirs.items()
        if name in tensors and own[name][1].shape != value.shape
    ]
    if wrong:
        more = f" (and {len(wrong) - 4} more)" if len(wrong) > 4 else ""
        raise StoreError(
            f"Expected the model that was trained; this {type(model).__name__} differs: "
            f"{'; '.join(wrong[:4])}{more}. Build it as it was when the run was recorded."
        )
    # What is no tensor was not kept (and said so): the model's own stays.
    model.load_state_dict({own[name][0]: value for name, value in theirs.items()}, strict=False)
    return epoch


def _bare(name: str) -> str:
    while (found := next((w for w in WRAPPERS if name.startswith(w)), None)) is not None:
        name = name[len(found) :]
    return name


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
