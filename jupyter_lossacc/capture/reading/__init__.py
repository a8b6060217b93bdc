"""From entries of the journal to events with numbers, once in many steps.

`reader` does it: `criteria` says what a call of a loss means, `sample_ids` which samples its rows are,
`reduction` and `light` compute per sample on the device, `transfer` brings the results to the host, and
`events` are what comes out. `governor` keeps the cost down, `plain` reads many steps at once where their
samples are left out, `unseen` finds losses that no tap saw.
"""
