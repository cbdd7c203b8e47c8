"""The embedded corpus: synthetic speech with exact emotion labels."""
