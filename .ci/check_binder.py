"""Check without Docker what Binder will do: its build plan, a fresh environment, and examples run in it.

`python .ci/check_binder.py` prints the peak memory of each example's kernel and fails above 1 GB. Binder
itself is not asked: whether its machines are up is not ours to test.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "binder" / "requirements.txt"
EXAMPLES = ("quickstart", "class_imbalance")
MOST_MB = 1000
# repo2docker puts these beside what is asked for.
BASE = ("ipykernel", "nbclient", "nbformat")


def run(*command: str | Path) -> str:
    """Run a command in the repository and return what it printed; end with that if it fails."""
    done = subprocess.run(list(map(str, command)), check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def check_plan() -> None:
    """Read repo2docker's plan: the Python asked for, and our requirements after the sources are there."""
    asked = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    repo2docker = Path(sys.executable).parent / "jupyter-repo2docker"
    plan = run(repo2docker, "--no-build", "--debug", "--user-id", "1000", "--user-name", "jovyan", ".")
    copied, installed = plan.find("COPY --chown=1000:1000 src/ "), plan.find('-r "binder/requirements.txt"')
    if asked.replace("-", "=") not in plan or not 0 < copied < installed:
        sys.exit(f"The plan does not install binder/requirements.txt on {asked} after the sources:\n{plan}")
    here = f"python-{sys.version_info.major}.{sys.version_info.minor}"
    note = "" if asked == here else f"; the environment below has {here}"
    print(f"repo2docker plans {asked} and installs binder/requirements.txt after the sources{note}")


def make_environment(folder: Path) -> Path:
    """Install the requirements as Binder does; PyTorch's index is asked only where it can be reached."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    plain = folder / "requirements.txt"  # this check runs on machines that have a CPU build at hand
    plain.write_text("\n".join(line for line in lines if not line.startswith("--")), encoding="utf-8")
    constraints = ("--constraint", ROOT / "constraints.txt")
    run(python, "-m", "pip", "install", "-q", *constraints, "-r", plain, *BASE)
    return python


def main() -> None:
    """Do all checks in turn."""
    check_plan()
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(Path(folder))
        said = run(python, ROOT / "examples" / "execute.py", *EXAMPLES)
    print(said, end="")
    peaks = [int(mb) for mb in re.findall(r"(\d+) MB at its peak", said)]
    if len(peaks) != len(EXAMPLES) or max(peaks) > MOST_MB:
        sys.exit(f"Expected {len(EXAMPLES)} examples below {MOST_MB} MB, got {peaks}.")


if __name__ == "__main__":
    main()
