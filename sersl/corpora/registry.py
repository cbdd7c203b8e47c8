"""Every corpus that `sersl prepare --corpus NAME` knows."""

from sersl.corpora.builder import Builder
from sersl.corpora.cremad import Cremad
from sersl.corpora.emodb import Emodb
from sersl.corpora.emovo import Emovo
from sersl.corpora.esd import Esd
from sersl.corpora.nemo import Nemo
from sersl.corpora.ravdess import Ravdess
from sersl.corpora.savee import Savee
from sersl.corpora.subesco import Subesco
from sersl.corpora.synthetic_builder import SyntheticBuilder
from sersl.corpora.tess import Tess

CORPORA: dict[str, type[Builder]] = {
    builder.name: builder
    for builder in (
        *(Cremad, Emodb, Emovo, Esd, Nemo, Ravdess, Savee, Subesco, Tess),
        SyntheticBuilder,
    )
}
