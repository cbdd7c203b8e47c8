"""Lists of other speech projects in JSON: EmoBox, s3prl, SpeechBrain and NeMo."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sersl.core.errors import UserError
from sersl.corpora.manifests.tables import Row, read_json, read_objects

# Theirs -> ours; all other keys stay as they are.
_EMOBOX = {
    "key": "utterance_id",
    "wav": "path",
    "emo": "emotion",
    "start_time": "start",
    "end_time": "end",
    "channel": "emobox_channel",  # 1 in every mono file: not a position from 0
}
_SPEECHBRAIN = {
    "wav": "path",
    "emo": "emotion",
    "spk_id": "speaker",
    "spk": "speaker",
    "words": "text",
    "wrd": "text",
}
_NEMO = {"audio_filepath": "path", "label": "emotion"}
_SIDES = ("train", "valid", "validation", "dev", "test")
# Session, then the letter of the actor who wore the markers, dialogue, and the turn's own actor.
_IEMOCAP_TURN = re.compile(r"(Ses0[1-5])[FM]_.*_([FM])[A-Z]*\d+")


def read_emobox(manifest: Path) -> Iterator[Row]:
    """Reads EmoBox's JSON lines.

    Args:
      manifest: e.g. data/ravdess/fold_1/ravdess_train_fold_1.jsonl.

    Yields:
      Rows; labels are raw, label_map.json of the same folder or the one above says what they mean.
    """
    fold = side_of(manifest)
    for where, row in read_objects(manifest):
        yield where, _renamed(row, _EMOBOX, where) | fold


def read_s3prl(manifest: Path) -> Iterator[Row]:
    """Reads s3prl's emotion list: {"labels": {name: number}, "meta_data": [{"path", ...}]}.

    Its speaker of an IEMOCAP turn is the dialogue's; the turn's own is taken, and s3prl's kept as
    `s3prl_speaker`.

    Args:
      manifest: e.g. meta_data/Session1/test_meta_data.json.

    Yields:
      Rows.

    Raises:
      UserError: other contents, or a label number that `labels` does not have.
    """
    content = read_json(manifest)
    if not isinstance(content, dict) or not isinstance(content.get("meta_data"), list):
        raise UserError(f"{manifest.name}: there is no list 'meta_data', so it is not of s3prl")
    labels = content.get("labels", {})
    names = {number: label for label, number in labels.items()}
    fold = side_of(manifest)
    for number, entry in enumerate(content["meta_data"], start=1):
        where = f"{manifest.name} entry {number}"
        row = _renamed(entry, {"label": "emotion"}, where) | fold
        if "emotion" in row and isinstance(row["emotion"], int):
            if row["emotion"] not in names:
                raise UserError(f"{where}: label {row['emotion']} is not in 'labels'")
            row["emotion"] = names[row["emotion"]]
        turn = _IEMOCAP_TURN.fullmatch(PurePosixPath(str(row["path"])).stem)
        if turn:
            own = turn[1] + turn[2]
            if "speaker" in row and row["speaker"] != own:
                row["s3prl_speaker"] = row["speaker"]
            row |= {"speaker": own, "session": turn[1]}
        yield where, row


def read_speechbrain(manifest: Path) -> Iterator[Row]:
    """Reads SpeechBrain's dictionary {utterance: {"wav", "length", "emo", ...}}.

    Args:
      manifest: the file; "{data_root}" in paths is its own folder.

    Yields:
      Rows.

    Raises:
      UserError: an entry that is no object, or whose audio is a part or a list of files.
    """
    content = read_json(manifest)
    if not isinstance(content, dict):
        raise UserError(f"{manifest.name}: not a dictionary of utterances, as SpeechBrain's are")
    fold = side_of(manifest)
    for utterance_id, entry in content.items():
        where = f"{manifest.name} entry {utterance_id!r}"
        row = _renamed(entry, _SPEECHBRAIN, where) | fold
        for key in ("start", "stop"):  # samples there, seconds here
            if key in row:
                raise UserError(
                    f"{where}: {key!r} in samples cannot be read; write start and end in seconds "
                    "as CSV"
                )
        row["path"] = re.sub(r"^(\{data_root\}|\{data_folder\}|\$data_folder)/*", "", row["path"])
        yield where, {"utterance_id": utterance_id} | row


def read_nemo(manifest: Path) -> Iterator[Row]:
    """Reads NeMo's JSON lines with audio_filepath, and duration and offset in seconds.

    Args:
      manifest: the file.

    Yields:
      Rows; a segment where there is an offset, else the whole file.

    Raises:
      UserError: an offset without a duration.
    """
    for where, entry in read_objects(manifest):
        row = _renamed(entry, _NEMO, where)
        if "offset" in row:
            if "duration" not in row:
                raise UserError(f"{where}: there is an offset and no duration; give both")
            try:
                start, seconds = float(row.pop("offset")), float(row["duration"])
            except (TypeError, ValueError) as error:
                raise UserError(f"{where}: offset or duration is not a number") from error
            row |= {"start": start, "end": start + seconds}
        yield where, row


def side_of(manifest: Path) -> dict[str, str]:
    """Reads from a file's name whether it is a train, valid or test list.

    Args:
      manifest: the file.

    Returns:
      {"fold": side}, or {} where the name says nothing.
    """
    words = re.split(r"[^a-z]+", manifest.stem.lower())
    found = [side for side in _SIDES if side in words]
    return {"fold": found[0]} if len(found) == 1 else {}


def _renamed(entry: object, names: dict[str, str], where: str) -> dict:
    """Gives the keys our names; where two keys mean the same, the first with a value counts."""
    if not isinstance(entry, dict):
        raise UserError(f"{where}: not an object with the path of an audio file")
    row = {}
    for key, value in entry.items():
        ours = names.get(key, key)
        if ours not in row or row[ours] in ("", None):
            row[ours] = value
    if not isinstance(row.get("path"), str) or not row["path"]:
        raise UserError(f"{where}: there is no path of one audio file; keys are {', '.join(entry)}")
    return row
