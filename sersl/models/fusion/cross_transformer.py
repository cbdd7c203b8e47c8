"""Hybrid fusion: a cross-modal Transformer for each view."""

from sersl.models.fusion.cross_modal import CrossModal


class CrossTransformer(CrossModal):
    """`fusion.layers` layers of cross-modal attention and feed-forward blocks.

    Source: Tsai et al. 2019 (1906.00295), sec. 3.2: all layers read the same frames of the others.
    """

    deep = True
