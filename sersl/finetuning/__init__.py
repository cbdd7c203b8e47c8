"""Fine-tuning: the task, the folds of a protocol, and the run."""
