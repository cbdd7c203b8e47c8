"""From pooled vectors to predictions."""
