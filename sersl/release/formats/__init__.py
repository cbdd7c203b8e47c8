"""Further forms of an exported model, beside its weights: StableHLO programs and others."""
