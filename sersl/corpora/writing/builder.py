"""Turns utterances into a TFDS dataset of encoded audio, without TensorFlow.

A corpus is a subclass of `Builder` (or `FolderBuilder`) that lists its utterances and their labels;
everything else happens here: decoding, checking, encoding, hashing, and counting what was left out.
The same source gives the same records in the same order, whether threads, processes or Apache Beam
encode them.
"""

import abc
import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from sersl.audio.decode import AudioInfo
from sersl.audio.levels import Levels
from sersl.core.errors import UserError
from sersl.corpora.index import INDEX_FILE, SPLIT
from sersl.corpora.listing import (
    check_folder,
    list_files,
    listing_fingerprint,
    printable,
    walk,
)
from sersl.corpora.utterance import SAME_UTTERANCE, About, Account, LeftOut, Utterance
from sersl.corpora.writing import beam
from sersl.corpora.writing.encoding import Encoded, encode_all
from sersl.corpora.writing.parts import Parts, Progress, divide_evenly
from sersl.corpora.writing.quality import Quality
from sersl.corpora.writing.records import SHARD_BYTES, IndexWriter, ShardWriter, record_features

_SHORT = 0.1  # seconds; kept, but training leaves shorter ones out (data.min_seconds)
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")


class Info(tfds.core.DatasetInfo):
    """What TFDS writes beside the records."""

    def initialize_from_bucket(self) -> None:
        """Does nothing: our corpora are not in the public bucket of TFDS.

        TFDS would leave an empty folder in the temporary one for every builder that is made.
        """


class Builder(  # type: ignore[call-arg]  # the stub of TFDS lacks its own keyword
    tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True
):
    """Base of every corpus.

    Subclasses set `name`, `about`, `VERSION` and define `listing` and `source_fingerprint`.
    With `beam_options` or `beam_runner` in its download config, TFDS's `download_and_prepare`
    encodes in a pipeline of Apache Beam.
    """

    name = "corpus"
    VERSION = tfds.core.Version("1.0.0")
    about: About
    SETTINGS: ClassVar[tuple[str, ...]] = ("allow_unexpected_count",)  # set after it is made

    def __init_subclass__(cls, **settings):
        """Keeps every corpus out of the registry of TFDS."""
        super().__init_subclass__(skip_registration=True, **settings)

    def __new__(cls, **arguments):
        """Remembers the arguments: another process makes the builder again from them."""
        builder = super().__new__(cls)
        builder._arguments = arguments
        return builder

    def __init__(self, *, data_dir: str | Path):
        self.account = Account()
        self.quality = Quality()
        self.progress: Progress | None = None  # of encoding
        self.join_progress: Progress | None = None  # of writing what others encoded
        self.allow_unexpected_count = False  # True: a part of the corpus is prepared as well
        self.processes = 1  # that encode
        self.parts: Parts | None = None  # encoded by others, or to be encoded by Beam
        self.record_digests: dict[str, str] = {}  # of the files of records, once written
        super().__init__(data_dir=os.fspath(data_dir), file_format="array_record")

    @abc.abstractmethod
    def listing(self) -> Iterator[Utterance | LeftOut]:
        """Lists the corpus in a fixed order, without decoding audio.

        Called twice: once to count and check, once to write.
        """

    @abc.abstractmethod
    def source_fingerprint(self) -> str:
        """Hashes names and sizes of the source, to detect changes."""

    def count(self) -> int:
        """Counts the utterances and checks their ids before any audio is read.

        Returns:
          Number of utterances listed.

        Raises:
          UserError: two have the same id, or there is none.
        """
        seen = set()
        left_out: list[LeftOut] = []
        for item in self.listing():
            if isinstance(item, LeftOut):
                left_out.append(item)
                continue
            if item.utterance_id in seen:
                raise UserError(
                    f"corpus {self.name!r}: utterance_id {item.utterance_id!r} occurs twice "
                    f"(again at {item.path}): give each utterance its own"
                )
            seen.add(item.utterance_id)
        if not seen:
            why = f" ({left_out[0].path}: {left_out[0].reason})" if left_out else ""
            count = f" in {len(left_out)} files" if len(left_out) > 1 else ""
            raise UserError(
                f"corpus {self.name!r}: no utterance found{count}{why}; expected "
                f"{self.about.folder}: {self.remedy()}"
            )
        expected = self.expected_utterances()
        if not self.allow_unexpected_count and expected not in (None, len(seen)):
            raise UserError(
                f"corpus {self.name!r}: {len(seen)} utterances found, {expected} expected: "
                "complete the folder, or add --allow_unexpected_count to prepare what is there"
            )
        return len(seen)

    def remedy(self) -> str:
        """Says what to do where the source has no utterance."""
        return "check --corpus and --audio_dir"

    def expected_utterances(self) -> int | None:
        """Gives the number of utterances of a complete copy; None if copies differ."""
        return self.about.num_utterances

    def _info(self) -> tfds.core.DatasetInfo:
        return Info(
            builder=self,
            description=self.about.description,
            features=record_features(),
            homepage=self.about.homepage,
            citation=self.about.citation,
            license=self.about.licence,
            disable_shuffling=True,  # record i is row i of the index
        )

    def __reduce__(self):
        settings = {name: getattr(self, name) for name in self.SETTINGS}
        return functools.partial(type(self), **self._arguments), (), settings

    def __setstate__(self, state):
        self.__dict__.update(state)

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {SPLIT: self._generate_examples()}

    def _generate_splits(self, dl_manager, download_config):
        """Replaces TFDS's writer, see `sersl.corpora.writing.records`."""
        options, runner = download_config.beam_options, download_config.beam_runner
        own = None
        if options is not None or runner is not None:
            if self.parts is None:
                # A temporary folder until all is written.
                own = self.parts = Parts(self.data_path / "parts", divide_evenly(self.count()))
            beam.write_parts(
                self, self.parts, runner=runner, options=options, progress=self.progress
            )
        (generator,) = self._split_generators(dl_manager).values()
        template = self._get_filename_template(split_name=SPLIT)
        writer = ShardWriter(template, shard_bytes=SHARD_BYTES)
        with contextlib.closing(generator):
            for _, record in generator:
                writer.add(record)
        if own is not None:
            own.remove()
        split = writer.finish()
        self.record_digests = writer.digests
        return [split]

    def _generate_examples(self):
        """Gives records as they are written: serialized, with their number."""
        total = self.count()
        digest = hashlib.sha256(f"{self.name} {self.VERSION}".encode())
        index = IndexWriter(self.data_path / INDEX_FILE)
        with contextlib.closing(self._rows(total)) as rows:
            for number, (row, record) in enumerate(rows):
                index.add(row)
                content = {key: value for key, value in row.items() if key != "path"}
                digest.update(json.dumps(content, sort_keys=True).encode())
                yield number, record
                self.account.num_utterances += 1
        index.close()
        self.account.fingerprint = digest.hexdigest()
        if not self.account.num_utterances:
            first = self.account.skipped[0]
            raise UserError(
                f"corpus {self.name!r}: none of {total} utterances can be used; "
                f"the first, {first.path}: {first.reason}"
            )

    def _rows(self, total: int) -> Generator[tuple[dict, bytes], None, None]:
        """Gives rows and records in the order listed, and counts what is left out."""
        if self.parts is None:
            encoded = encode_all(self.name, self.listed(), processes=self.processes)
            progress = self.progress
        else:
            encoded = self._joined(self.parts)
            progress = self.join_progress
        with contextlib.closing(encoded):
            for done, one in enumerate(encoded, 1):
                if one.row is None or one.levels is None:
                    self.account.skipped.append(LeftOut(one.path, one.reason))
                else:
                    self._count_in(one.row, one.levels, one.info)
                    yield one.row, one.record
                if progress is not None:
                    progress(done, total)

    def listed(self) -> Iterator[Utterance]:
        """Lists the utterances, and notes what is left out in `account`."""
        for item in self.listing():
            if isinstance(item, LeftOut):
                self.account.left_out.append(item)
            else:
                yield item

    def _joined(self, parts: Parts) -> Generator[Encoded, None, None]:
        """Reads what others encoded, beside the listing."""
        read = parts.read(Encoded.from_bytes)
        for item in self.listed():
            one = next(read, None)
            if one is None or one.utterance_id != item.utterance_id:
                break
            yield one
        else:
            if next(read, None) is None:
                return
        raise UserError(
            f"corpus {self.name!r}: its folder has changed while it was prepared: leave it alone, "
            "and run the same command again"
        )

    def _count_in(self, row: Mapping[str, Any], levels: Levels, info: AudioInfo | None) -> None:
        if levels.peak == 0:
            self.account.silent.append(row["utterance_id"])
        if row["duration"] < _SHORT:
            self.account.short.append(row["utterance_id"])
        self.quality.add(row, levels, info)


class FolderBuilder(Builder):
    """Base of a corpus with labels in its file names, or in tables beside the audio.

    Subclasses define `parse`; those with tables read them in `read_tables`.
    """

    name = "folder"
    EXTENSIONS: ClassVar[tuple[str, ...]] = (".wav", ".flac")
    # Video, or audio in a video's container: only where no file of EXTENSIONS has the utterance.
    CONTAINERS: ClassVar[tuple[str, ...]] = ()
    TABLES: ClassVar[tuple[str, ...]] = ()  # label files, part of the source's fingerprint

    def __init__(self, *, data_dir: str | Path, audio_dir: str | Path):
        self.audio_dir = Path(audio_dir)
        check_folder(self.audio_dir, f"corpus {self.name!r}")
        super().__init__(data_dir=data_dir)

    @abc.abstractmethod
    def parse(self, file: str) -> Utterance | LeftOut | Sequence[Utterance | LeftOut]:
        """Reads the labels of one file from its path relative to the corpus's folder.

        A recording of many utterances gives a list.
        """

    def tables(self) -> Iterable[str]:
        """Names the label files: `TABLES`, or those found in the folder."""
        return self.TABLES

    def files(self) -> Iterator[str]:
        """Lists all audio files in sorted order, plain audio before containers."""
        yield from list_files(self.audio_dir, self.EXTENSIONS)
        if self.CONTAINERS:
            yield from list_files(self.audio_dir, self.CONTAINERS)

    def remedy(self) -> str:
        """Says what to do where the folder has no utterance: perhaps it is still packed."""
        packed = next(list_files(self.audio_dir, _ARCHIVES), None)
        return super().remedy() if packed is None else f"unpack {printable(packed)} first"

    def read_tables(self) -> list[LeftOut]:
        """Reads label files, before the first `parse`; gives those that are missing."""
        return []

    def listing(self) -> Iterator[Utterance | LeftOut]:
        """Lists the utterances of all files; a second file of the same id is left out."""
        yield from self.read_tables()
        for path, problem in walk(self.audio_dir, self.EXTENSIONS):
            if problem:
                yield LeftOut(printable(path), problem)
        seen: dict[str, str] = {}
        for file in self.files():
            found = self.parse(file)
            for item in found if isinstance(found, Sequence) else [found]:
                if isinstance(item, Utterance):
                    # Repackaged downloads hold the whole corpus twice.
                    if item.utterance_id in seen:
                        first = seen[item.utterance_id]
                        item = LeftOut(printable(file), f"{SAME_UTTERANCE} {first}")
                    else:
                        seen[item.utterance_id] = printable(file)
                yield item

    def source_fingerprint(self) -> str:
        """Hashes names and sizes of all audio and label files."""
        tables = (table for table in self.tables() if (self.audio_dir / table).is_file())
        files = (*tables, *self.files())
        return listing_fingerprint(self.audio_dir, files)
