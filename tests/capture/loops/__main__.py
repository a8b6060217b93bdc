"""Write the table of styles into tests/capture/README.md."""

from tests.capture.loops.table import README, written

README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
