"""GigaSpeech: audiobooks, podcasts and YouTube, cut and transcribed; no emotions."""

from collections.abc import Iterator

from sersl.core.errors import UserError
from sersl.corpora.catalog.label_files import missing_tables
from sersl.corpora.listing import printable
from sersl.corpora.tables.objects import make_row, read_array
from sersl.corpora.tables.values import Row
from sersl.corpora.utterance import About, LeftOut, Utterance
from sersl.corpora.writing.builder import FolderBuilder

_LIST = "GigaSpeech.json"
# Segments without speech have one of these as their whole text (GigaSpeech README, "Garbage").
_NO_SPEECH = ("<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>")


_REMEDY = "take the file of the release"


class Gigaspeech(FolderBuilder):
    """The segments that GigaSpeech.json lists, of the recordings in the folder.

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
            path = _required(audio, "path")
            listed.add(path)
            segments = audio.values.get("segments")
            if not isinstance(segments, list):
                raise UserError(f"{audio.at('segments')}: not a list: {_REMEDY}")
            if (self.audio_dir / path).is_file():
                for number, segment in enumerate(segments, start=1):
                    where = f"{audio.where}, segment {number}"
                    yield self._segment(path, audio, make_row(segment, where))
        for file in self.files():
            if file not in listed:
                yield self.parse(file)

    def parse(self, file: str) -> LeftOut:
        """Leaves out a recording that the list does not name."""
        return LeftOut(printable(file), f"recording is not in {_LIST}")

    def _recordings(self) -> Iterator[Row]:
        if missing_tables(self.audio_dir, [_LIST]):
            raise UserError(
                f"corpus 'gigaspeech': there is no {_LIST} in {self.audio_dir}: the segments are "
                "there, so copy it from the release"
            )
        for line, value in read_array(self.audio_dir / _LIST, "audios"):
            yield make_row(value, f"{_LIST} line {line}")

    def _segment(self, file: str, audio: Row, segment: Row) -> Utterance | LeftOut:
        segment_id, text = _required(segment, "sid"), segment.text("text_tn")
        if text in _NO_SPEECH:
            return LeftOut(segment_id, "segment without speech")
        names = segment.values.get("subsets", [])
        subsets = [str(name).strip("{}") for name in names] if isinstance(names, list) else []
        folds = {"DEV": "validation", "TEST": "test"}
        return Utterance(
            utterance_id=segment_id,
            source=self.audio_dir / file,
            path=printable(file),
            start=_time(segment, "begin_time"),
            end=_time(segment, "end_time"),
            speaker=segment.name("speaker"),
            language="en",
            session=audio.name("aid"),
            text=text,
            fold=next((folds[name] for name in subsets if name in folds), "train"),
            extra={"subsets": subsets, "kind": file.split("/")[1] if "/" in file else ""},
        )


def _required(row: Row, key: str) -> str:
    if not row.has(key):
        raise UserError(f"{row.where}: there is no {key!r}: {_REMEDY}")
    return row.name(key)


def _time(row: Row, key: str) -> float:
    _required(row, key)
    return row.seconds(key)
