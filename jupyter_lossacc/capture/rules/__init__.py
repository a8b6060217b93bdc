"""From events to passes: which run, which epoch, which split, which samples.

`interpreter` takes the events in their order and asks `runs` (which model and optimiser), `passes` (where
one begins and ends), `splits` (what it is called), `attribution` (whose samples, where no loader told, with
`pieces` where they lie in a list) and `padding` (duplicates of a distributed sampler); `assembly` makes the
pass that the `sink` is given, and `limits` says what of it could not be seen.
"""
