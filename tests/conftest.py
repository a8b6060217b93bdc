"""One thread per test process: two cores stay usable, and results do not depend on the machine."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
