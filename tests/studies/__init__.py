"""Long measurements whose tables stand in the documentation: ``python -m tests.studies``."""
