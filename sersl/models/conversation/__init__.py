"""Networks over the utterances of a dialogue."""
