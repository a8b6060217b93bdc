"""Sees a training run from outside: the only floor that knows torch.

In the direction in which things happen:

* `taps` sit where the training passes by: they write tuples into a journal and compute nothing;
* `reading` turns many entries of the journal at a time into events, with their numbers on the host;
* `rules` decide what the events are: run, pass, split, samples;
* beside them, `capture` holds all of it, `manual` is for batches handed over by hand, `weights` and
  `originals` keep what is asked for later.
"""
