"""label_map.json: what the labels of a manifest mean, in the form that EmoBox uses."""

from collections.abc import Mapping
from pathlib import Path

from sersl.core.errors import UserError
from sersl.corpora.tables.objects import read_document
from sersl.corpora.tables.values import check_printable
from sersl.corpora.words import OwnWords, fold_spelling, known_category

LABEL_MAP = "label_map.json"  # raw label -> category


def label_maps(manifest: Path) -> list[Path]:
    """Names the places of a label map: the manifest's own folder and the one above."""
    own = manifest if manifest.is_dir() else manifest.parent
    return [own / LABEL_MAP, own.absolute().parent / LABEL_MAP]


def read_label_map(manifest: Path) -> dict[str, str]:
    """Reads label_map.json in the manifest's folder or the one above.

    Args:
      manifest: file or folder.

    Returns:
      Raw label -> the word that the map gives it; {} where there is no such file.

    Raises:
      UserError: it is not an object with a word for each label.
    """
    file = next((file for file in label_maps(manifest) if file.is_file()), None)
    if file is None:
        return {}
    content = read_document(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: not an object that gives each label a category")
    for raw, word in content.items():
        if not isinstance(word, str):
            raise UserError(f"{file}, key {raw!r}: {word!r} is not a category")
        check_printable(word, f"{file}, key {raw!r}")
    return {raw.strip(): word.strip() for raw, word in content.items()}


class Labels:
    """The meaning of a manifest's labels.

    Known spellings meet in one category, and any other word is a category of its own. EmoBox's maps
    have words without a category, e.g. "Sarcastic": they become "other", with a note.
    """

    def __init__(self, label_map: Mapping[str, str]):
        self._map = label_map
        self._folded = {fold_spelling(raw): word for raw, word in label_map.items()}
        self.own = OwnWords(
            remedy=f"give it a category in {LABEL_MAP} beside the manifest, such as "
            '{"my label": "happy"}'
        )
        self.others: dict[str, int] = {}  # word of an EmoBox map -> rows

    def category(self, raw: str, where: str, *, corpus: str = "", emobox: bool = False) -> str:
        """Finds the category of a label; "" for no agreement or no label.

        Raises:
          UserError: the label cannot be the name of a category, see `OwnWords.add`.
        """
        mapped = self._map.get(raw, self._folded.get(fold_spelling(raw)))
        word = raw if mapped is None else mapped
        found = known_category(word, corpus if mapped is None else "")
        if found is not None:
            return found
        if emobox and mapped is not None:
            self.others[word] = self.others.get(word, 0) + 1
            return "other"
        return self.own.add(word, where if mapped is None else f"{LABEL_MAP}, key {raw!r}")

    def notes(self) -> list[str]:
        """Lists the categories that are not known ones, and the words that became "other"."""
        if not self.others:
            return self.own.notes()
        counts = ", ".join(f"{word} {count}" for word, count in self.others.items())
        return [
            *self.own.notes(),
            f"labels of {LABEL_MAP} without a category of their own are 'other': {counts}",
        ]
