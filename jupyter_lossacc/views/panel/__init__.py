"""The live panel: state, widget, and the copy that stays."""
