"""The causes, one module and one page each, in reading order."""
