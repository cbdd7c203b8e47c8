"""Every corpus that `sersl prepare --corpus NAME` knows."""

from sersl.corpora.builder import Builder
from sersl.corpora.cafe import Cafe
from sersl.corpora.cmu_mosei import CmuMosei
from sersl.corpora.common_voice import CommonVoice
from sersl.corpora.cremad import Cremad
from sersl.corpora.emodb import Emodb
from sersl.corpora.emovo import Emovo
from sersl.corpora.enterface import Enterface
from sersl.corpora.esd import Esd
from sersl.corpora.gigaspeech import Gigaspeech
from sersl.corpora.iemocap import Iemocap
from sersl.corpora.jl import Jl
from sersl.corpora.librilight import Librilight
from sersl.corpora.librispeech import Librispeech
from sersl.corpora.lssed import Lssed
from sersl.corpora.meld import Meld
from sersl.corpora.msp_improv import MspImprov
from sersl.corpora.msp_podcast import MspPodcast
from sersl.corpora.nemo import Nemo
from sersl.corpora.ravdess import Ravdess
from sersl.corpora.savee import Savee
from sersl.corpora.shemo import Shemo
from sersl.corpora.subesco import Subesco
from sersl.corpora.synthetic_builder import SyntheticBuilder
from sersl.corpora.tess import Tess
from sersl.corpora.urdu import Urdu
from sersl.corpora.voxceleb import Voxceleb1, Voxceleb2
from sersl.corpora.voxpopuli import Voxpopuli

CORPORA: dict[str, type[Builder]] = {
    builder.name: builder
    for builder in (
        # with emotions
        *(Cafe, CmuMosei, Cremad, Emodb, Emovo, Enterface, Esd, Iemocap, Jl, Lssed, Meld),
        *(MspImprov, MspPodcast, Nemo, Ravdess, Savee, Shemo, Subesco, Tess, Urdu),
        # for pretraining
        *(CommonVoice, Gigaspeech, Librilight, Librispeech, Voxceleb1, Voxceleb2, Voxpopuli),
        SyntheticBuilder,
    )
}
