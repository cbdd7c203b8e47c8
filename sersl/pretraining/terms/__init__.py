"""One file per family of pretraining objectives."""
