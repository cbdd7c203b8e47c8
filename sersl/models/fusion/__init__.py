"""Several views of an utterance, combined into one vector or one decision."""
