"""A workdir: checkpoints, start-up, lock, and the record of what a run was made from."""
