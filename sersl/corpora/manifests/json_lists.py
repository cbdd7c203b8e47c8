"""Lists of other speech projects in JSON: EmoBox, s3prl, SpeechBrain and NeMo."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sersl.core.errors import UserError
from sersl.corpora.manifests.columns import SAMPLES
from sersl.corpora.tables.objects import make_row, read_document, read_objects
from sersl.corpora.tables.values import Row, clean

# Their name -> ours; all other keys stay as they are.
_EMOBOX = {
    "key": "utterance_id",
    "wav": "path",
    "emo": "emotion",
    "start_time": "start",
    "end_time": "end",
    "channel": "emobox_channel",  # 1 in every mono file: not an index from 0
}
_SPEECHBRAIN = {
    "wav": "path",
    "emo": "emotion",
    "spk_id": "speaker",
    "spk": "speaker",
    "words": "text",
    "wrd": "text",
    "start": SAMPLES[0],
    "stop": SAMPLES[1],
}
_NEMO = {"audio_filepath": "path", "label": "emotion"}
_SIDES = ("train", "valid", "validation", "dev", "test")
_DATA_ROOT = re.compile(r"^(\{data_root\}|\{data_folder\}|\$data_folder)/*")
# Session, then the letter of the actor who wore the markers, dialogue, and the turn's own actor.
_IEMOCAP_TURN = re.compile(r"(Ses0[1-5])[FM]_.*_([FM])[A-Z]*\d+")


def read_emobox(manifest: Path) -> Iterator[Row]:
    """Reads EmoBox's JSON lines, e.g. data/ravdess/fold_1/ravdess_train_fold_1.jsonl.

    Labels are raw; label_map.json of the same folder or the one above gives their meaning.
    """
    fold = side_of(manifest)
    for row in read_objects(manifest):
        yield _renamed(row, _EMOBOX, fold)


def read_s3prl(manifest: Path) -> Iterator[Row]:
    """Reads s3prl's emotion list: {"labels": {name: number}, "meta_data": [{"path", ...}]}.

    Its speaker of an IEMOCAP turn is that of the dialogue; the turn's own is taken, and s3prl's
    kept as `s3prl_speaker`.

    Raises:
      UserError: other contents, or a label number that `labels` does not have.
    """
    content = read_document(manifest)
    if not isinstance(content, dict) or not isinstance(content.get("meta_data"), list):
        raise UserError(f"{manifest.name}: there is no list 'meta_data', so it is not of s3prl")
    labels = content.get("labels", {})
    if not isinstance(labels, dict):
        raise UserError(f"{manifest.name}: 'labels' is not an object that numbers the labels")
    names = {str(number): label for label, number in labels.items()}
    fold = side_of(manifest)
    for number, entry in enumerate(content["meta_data"], start=1):
        row = _renamed(
            make_row(entry, f"{manifest.name} entry {number}"), {"label": "emotion"}, fold
        )
        label = row.values.get("emotion")
        if isinstance(label, int):
            if str(label) not in names:
                raise UserError(f"{row.where}: label {label} is not in 'labels'")
            row.values["emotion"] = names[str(label)]
        turn = _IEMOCAP_TURN.fullmatch(PurePosixPath(row.values["path"]).stem)
        if turn:
            own = turn[1] + turn[2]
            if row.has("speaker") and row.text("speaker") != own:
                row.values["s3prl_speaker"] = row.text("speaker")
            row.values |= {"speaker": own, "session": turn[1]}
        yield row


def read_speechbrain(manifest: Path) -> Iterator[Row]:
    """Reads SpeechBrain's dictionary {utterance: {"wav", "length", "emo", ...}}.

    "{data_root}" in paths is the manifest's own folder. `wav` may be an object with `file`, and
    `start` and `stop` in samples, as SpeechBrain's `read_audio` takes them. Dictionaries may be
    nested by split: {"train": {utterance: {...}}, "test": {...}}. EmoBox has lists in this form.

    Raises:
      UserError: an entry that is not an object, or whose audio is a list of files.
    """
    content = read_document(manifest)
    if not isinstance(content, dict):
        raise UserError(f"{manifest.name}: not a dictionary of utterances, as SpeechBrain's are")
    fold = side_of(manifest)
    if is_nested(content):
        for split, entries in content.items():
            for name, entry in entries.items():
                where = f"{manifest.name} entry {split!r} {name!r}"
                yield _speechbrain(name, entry, where, {"fold": split})
        return
    for name, entry in content.items():
        yield _speechbrain(name, entry, f"{manifest.name} entry {name!r}", fold)


def is_nested(content: Mapping[str, Any]) -> bool:
    """Tells whether a dictionary holds dictionaries of SpeechBrain's utterances, by split."""
    return bool(content) and all(
        isinstance(entries, dict)
        and "wav" not in entries
        and bool(entries)
        and all(isinstance(entry, dict) and "wav" in entry for entry in entries.values())
        for entries in content.values()
    )


def _speechbrain(name: str, entry: Any, where: str, fold: Mapping[str, str]) -> Row:
    if isinstance(entry, dict) and isinstance(entry.get("wav"), dict):
        audio = entry["wav"]
        unknown = sorted(set(audio) - {"file", "start", "stop"})
        if unknown or not isinstance(audio.get("file"), str):
            raise UserError(
                f"{where}, key 'wav': it has {', '.join(audio) or 'no keys'}; known are file, "
                "start, stop: give one file, and write several as an entry each"
            )
        entry = entry | {"wav": audio["file"]} | {k: v for k, v in audio.items() if k != "file"}
    row = make_row(entry, where)
    # EmoBox's lists in this form have `dataset`, and `channel` counted from 1.
    row = _renamed(row, _EMOBOX if row.has("dataset") else _SPEECHBRAIN, fold)
    row.values["path"] = _DATA_ROOT.sub("", row.values["path"])
    row.values.setdefault("utterance_id", clean(name, where))
    return row


def read_nemo(manifest: Path) -> Iterator[Row]:
    """Reads NeMo's JSON lines with audio_filepath, and duration and offset in seconds.

    As in NeMo, `duration` seconds are read from `offset`, which is 0 where it is missing or null;
    the whole file where neither is given.

    Raises:
      UserError: an offset without a duration.
    """
    for entry in read_objects(manifest):
        row = _renamed(entry, _NEMO, {})
        start, duration = row.seconds("offset"), row.seconds("duration")
        if start > 0 and math.isnan(duration):
            raise UserError(f"{row.where}: there is an offset and no duration; give both")
        if "offset" in row.values:
            del row.values["offset"]
        if not math.isnan(duration):
            first = 0.0 if math.isnan(start) else start
            row.values["end"] = first + duration
            row.names = {**row.names, "end": "duration"}
            if not math.isnan(start):
                row.values["start"] = start
            elif "utterance_id" not in row:
                # Most lists give the length of every file: those are called by the file alone.
                row.values["utterance_id"] = os.path.splitext(row.values["path"])[0]
        yield row


def side_of(manifest: Path) -> dict[str, str]:
    """Reads from a file's name whether it is a train, valid or test list.

    Returns:
      {"fold": side}, or {} where the name has no such word.
    """
    words = re.split(r"[^a-z]+", manifest.stem.lower())
    found = [side for side in _SIDES if side in words]
    return {"fold": found[0]} if len(found) == 1 else {}


def _renamed(row: Row, names: Mapping[str, str], more: Mapping[str, str]) -> Row:
    """Gives the keys our names; where two keys mean the same, the first with a value counts."""
    values: dict[str, Any] = {}
    theirs: dict[str, str] = {}
    for key, value in row.values.items():
        ours = names.get(key, key)
        if ours not in values or values[ours] == "":
            values[ours] = value
            theirs[ours] = key
    if not isinstance(values.get("path"), str) or not values["path"]:
        raise UserError(
            f"{row.where}: there is no path of one audio file; keys are {', '.join(row.values)}"
        )
    return Row(row.where, {**values, **more}, theirs)
