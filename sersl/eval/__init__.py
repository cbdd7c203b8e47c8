"""Room 10: metrics, evaluation and reports."""
