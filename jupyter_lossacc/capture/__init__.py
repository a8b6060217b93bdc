"""Sees a training run from outside: the only floor that knows torch."""
