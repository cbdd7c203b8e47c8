"""Self-supervised pretraining: the task, the student's input, masking and the run."""
