"""Build the wheel and compare it with the package: all of it, and nothing of the panel's sources."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = Path("jupyter_lossacc")
SHIPPED = ("*.py", "*.md", "*.typed", "views/panel/static/*")


def expected() -> set[str]:
    """Return the paths that must be in the wheel."""
    found = {p for pattern in SHIPPED for p in PACKAGE.rglob(pattern) if p.is_file()}
    return {p.as_posix() for p in found if "js" not in p.parts and "__pycache__" not in p.parts}


def main() -> None:
    """Exit with a sentence when the wheel lacks a file or has one too many."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--wheel", "--outdir", folder]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            sys.exit(f"The wheel could not be built:\n{built.stdout[-2000:]}{built.stderr[-2000:]}")
        wheel = next(Path(folder).glob("*.whl"))
        names = {n for n in zipfile.ZipFile(wheel).namelist() if n.startswith(f"{PACKAGE.name}/")}
    missing, surplus = sorted(expected() - names), sorted(names - expected())
    if missing or surplus:
        sys.exit(
            f"The wheel lacks {missing or 'nothing'} and holds beyond the package {surplus or 'nothing'}."
        )
    print(f"{wheel.name}: {len(names)} files, all of the package and nothing of the panel's sources")


if __name__ == "__main__":
    main()
