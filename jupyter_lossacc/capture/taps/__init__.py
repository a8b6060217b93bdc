"""What is put into torch while a run is recorded, and taken out again.

* `journal` is what all taps write into; `patches` puts them in and undoes them; `scripting` hides them
  from TorchScript;
* losses: `losses` (functions of torch), `own_criteria` (the user's own), `backward` (which of them a
  gradient reached);
* samples: `loaders` with `collating` (is row i sample i?), `datasets` (their names) and `indexing`
  (batches cut by hand), `fingerprints` (samples known by their contents);
* models: `models` (found in the user's frames), `outputs`, `units` (dead and saturated);
* optimisers: `optimizers` with `clipping` and `stopping` (a training that the user wants to end);
* around: `processes` (workers, forks, several ranks), `foreign` (what other libraries bring).
"""
