"""Further views of the utterances of a fine-tuning run: where they come from, and their outputs."""
