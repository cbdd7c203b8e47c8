"""Hybrid fusion: every view attends to itself, then to the others."""

from sersl.models.fusion.cross_modal import CrossModal


class DualAttention(CrossModal):
    """Self-attention inside of each view, and cross-modal attention behind it."""

    own_attention = True
