"""GigaSpeech: audiobooks, podcasts and YouTube, cut and transcribed; no emotions."""

from collections.abc import Iterator

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import missing_tables, read_array
from sersl.corpora.listing import printable
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_LIST = "GigaSpeech.json"
# Segments without speech have one of these as their whole text (GigaSpeech README, "Garbage").
_NO_SPEECH = ("<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>")


class Gigaspeech(FolderBuilder):
    """The segments that GigaSpeech.json lists, of the recordings that are there.

    The list is read one recording at a time: the full one has several gigabytes.

    Source: fields as in lhotse `recipes/gigaspeech.py`.
    """

    name = "gigaspeech"
    EXTENSIONS = (".opus", ".wav", ".flac")
    TABLES = (_LIST,)
    about = About(
        description="GigaSpeech: ten thousand hours of transcribed English of many kinds.",
        citation=(
            "Chen G, Chai S, Wang G, et al. (2021). GigaSpeech: An Evolving, Multi-domain ASR "
            "Corpus with 10,000 Hours of Transcribed Audio. Interspeech: 3670-3674."
        ),
        licence="Apache-2.0 (lists); research, the recordings belong to their authors",
        homepage="https://github.com/SpeechColab/GigaSpeech",
        folder=f"{_LIST} and audio/podcast/P0000/POD0000000001.opus and so on",
        how_to_get="ask for it with the form of https://github.com/SpeechColab/GigaSpeech",
    )

    def listing(self) -> Iterator[Utterance | LeftOut]:
        """Lists the segments in the list's order, then the recordings that it does not name."""
        listed = set()
        for audio in self._recordings():
            listed.add(audio["path"])
            if (self.audio_dir / audio["path"]).is_file():
                for segment in audio["segments"]:
                    yield self._segment(audio["path"], audio, segment)
        for file in self.files():
            if file not in listed:
                yield self.parse(file)

    def parse(self, file: str) -> LeftOut:
        """Says that the list does not name a recording."""
        return LeftOut(printable(file), f"recording is not in {_LIST}")

    def _recordings(self) -> Iterator[dict]:
        if missing_tables(self.audio_dir, [_LIST]):
            raise UserError(
                f"corpus 'gigaspeech': there is no {_LIST} in {self.audio_dir}: the segments are "
                "there, so copy it from the release"
            )
        return read_array(self.audio_dir / _LIST, "audios")

    def _segment(self, file: str, audio: dict, segment: dict) -> Utterance | LeftOut:
        if segment["text_tn"].strip() in _NO_SPEECH:
            return LeftOut(segment["sid"], "segment without speech")
        speaker = segment["speaker"]
        subsets = [name.strip("{}") for name in segment.get("subsets", [])]
        folds = {"DEV": "validation", "TEST": "test"}
        return Utterance(
            utterance_id=segment["sid"],
            source=self.audio_dir / file,
            path=printable(file),
            start=float(segment["begin_time"]),
            end=float(segment["end_time"]),
            speaker="" if speaker == "N/A" else speaker,
            language="en",
            session=audio["aid"],
            text=segment["text_tn"],
            fold=next((folds[name] for name in subsets if name in folds), "train"),
            extra={"subsets": subsets, "kind": file.split("/")[1] if "/" in file else ""},
        )
