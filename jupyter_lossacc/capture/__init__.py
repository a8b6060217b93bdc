"""Sees a training run from outside: the only floor that knows torch.

Where to look, in the direction in which things happen:

* taps, which write tuples into the `journal` and compute nothing: `losses`, `own_criteria`, `backward`,
  `optimizers` with `clipping`, `loaders`, `indexing`, `outputs`, `units`, `processes`; `patches` undoes
  them all, `scripting` hides them from TorchScript, `foreign` knows what other libraries bring, `models`
  finds the module in the user's frames;
* reading, once in many steps: `reading` turns entries into `events`, `criteria` says what a loss call
  means, `reduction` and `light` compute, `transfer` brings it to the host, `governor` keeps the cost
  down, `plain` reads many steps at once where their samples are left out, `unseen` and `fingerprints`
  fill gaps;
* deciding: `context` applies the rules, with `runs`, `passes`, `splits`, `attribution`, `sample_ids`,
  `datasets`, `collating`, `padding`; `assembly` makes the pass that the `sink` is given;
* beside it: `capture` holds all of it, `manual` is for batches handed over by hand, `stopping` ends a
  training, `weights` and `originals` keep what is asked for later.
"""
