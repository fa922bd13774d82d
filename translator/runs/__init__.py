"""Runs: what a model was made from, its states on disk, and images passed through it.

State that the whole process shares
-----------------------------------
It saves time or memory, or sets how PyTorch computes; no result depends on what a process has done before. In this
package it is:

- `runs.checkpoint`: the runs that tasks opened last (`RunAt.open`), at most `RUNS_KEPT`, so that each is loaded once.
- `runs.device`: the number of PyTorch's threads while images pass networks (`one_thread`); the precision of a GPU's
  products (`choose_device` and `computing`); which type is faster on this CPU, timed once (`has_bf16`); the C library's
  way of giving memory back (`keep_memory`, for a process that trains).
- `runs.recipe_names`: the current directory at the end of Python's path, after a recipe from outside was asked for.
- `training.ranks`: the group of processes that train together, while `joined` is open; the handlers of Ctrl-C and
  SIGTERM, while `Interrupts` is open.
- `translation.files`: a lock, so that only one image at a time takes much of the memory.
- `metrics.sources` and `metrics.shapes`: measurements of the images that were seen last, by their content.
"""
