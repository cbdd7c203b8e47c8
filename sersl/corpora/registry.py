"""Every corpus that `sersl prepare --corpus NAME` knows."""

from sersl.corpora.builder import Builder
from sersl.corpora.ravdess import Ravdess
from sersl.corpora.synthetic_builder import SyntheticBuilder

CORPORA: dict[str, type[Builder]] = {
    builder.name: builder for builder in (Ravdess, SyntheticBuilder)
}
