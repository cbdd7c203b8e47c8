"""Released model folders, model cards, import, export and prediction."""
