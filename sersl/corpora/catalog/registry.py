"""Every corpus of `sersl prepare --corpus NAME`."""

from sersl.corpora.catalog.cafe import Cafe
from sersl.corpora.catalog.cmu_moseas import CmuMoseas
from sersl.corpora.catalog.cmu_mosei import CmuMosei
from sersl.corpora.catalog.common_voice import CommonVoice
from sersl.corpora.catalog.cremad import Cremad
from sersl.corpora.catalog.emodb import Emodb
from sersl.corpora.catalog.emovo import Emovo
from sersl.corpora.catalog.enterface import Enterface
from sersl.corpora.catalog.esd import Esd
from sersl.corpora.catalog.gigaspeech import Gigaspeech
from sersl.corpora.catalog.iemocap import Iemocap
from sersl.corpora.catalog.jl import Jl
from sersl.corpora.catalog.librilight import Librilight
from sersl.corpora.catalog.librispeech import Librispeech
from sersl.corpora.catalog.lssed import Lssed
from sersl.corpora.catalog.meld import Meld
from sersl.corpora.catalog.msp_improv import MspImprov
from sersl.corpora.catalog.msp_podcast import MspPodcast
from sersl.corpora.catalog.nemo import Nemo
from sersl.corpora.catalog.ravdess import Ravdess
from sersl.corpora.catalog.samsemo import Samsemo
from sersl.corpora.catalog.savee import Savee
from sersl.corpora.catalog.shemo import Shemo
from sersl.corpora.catalog.subesco import Subesco
from sersl.corpora.catalog.tess import Tess
from sersl.corpora.catalog.urdu import Urdu
from sersl.corpora.catalog.voxceleb import Voxceleb1, Voxceleb2
from sersl.corpora.catalog.voxpopuli import Voxpopuli
from sersl.corpora.catalog.whiser import Whiser
from sersl.corpora.synthetic.corpus import SyntheticBuilder
from sersl.corpora.synthetic.dialogues import SyntheticDialogues
from sersl.corpora.writing.builder import Builder

CORPORA: dict[str, type[Builder]] = {
    builder.name: builder
    for builder in (
        # with emotions
        *(Cafe, CmuMoseas, CmuMosei, Cremad, Emodb, Emovo, Enterface, Esd, Iemocap, Jl, Lssed),
        *(Meld, MspImprov, MspPodcast, Nemo, Ravdess, Samsemo, Savee, Shemo, Subesco, Tess, Urdu),
        Whiser,
        # for pretraining
        *(CommonVoice, Gigaspeech, Librilight, Librispeech, Voxceleb1, Voxceleb2, Voxpopuli),
        SyntheticBuilder,
        SyntheticDialogues,
    )
}
