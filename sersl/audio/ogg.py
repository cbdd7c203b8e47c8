"""Finds the links of Ogg files (Vorbis, Opus, FLAC), since libsndfile reads only the first.

Source: RFC 3533, sec. 4 (chained streams) and sec. 6 (pages).
"""

from sersl.audio.faults import truncated
from sersl.audio.source import OpenSource

_MAGIC = b"OggS"
_HEADER = 27  # bytes, then the sizes of up to 255 segments
_FIRST = 2  # flag of the first page of a stream


def find_links(source: OpenSource) -> list[tuple[int, int]]:
    """Finds the links of a chain; most files have one.

    Args:
      source: the file.

    Returns:
      Bytes [start, stop) of each link. The last one ends with its last page: other data may follow.

    Raises:
      UserError: the last page is not whole.
    """
    links: list[tuple[int, int]] = []
    start = position = 0
    has_sound = False  # pages that are not the first of their stream
    while True:
        header = source.read_at(position, _HEADER + 255)
        if not header.startswith(_MAGIC):
            after = source.find(_MAGIC, position, source.size)
            if after >= 0:  # libogg skips to the next page as well
                position = after
                continue
            if _MAGIC.startswith(header):  # nothing, or a page cut within its first bytes
                _check(not header, source.name)
            break
        size = _page_size(header)
        _check(size is not None and position + size <= source.size, source.name)
        first = bool(header[5] & _FIRST)
        if first and has_sound:
            links.append((start, position))
            start, has_sound = position, False
        has_sound = has_sound or not first
        position += size or 0
    return [*links, (start, position)]


def _page_size(header: bytes) -> int | None:
    if len(header) < _HEADER or len(header) < _HEADER + header[26]:
        return None
    return _HEADER + header[26] + sum(header[_HEADER : _HEADER + header[26]])


def _check(whole: bool, name: str) -> None:
    if not whole:
        raise truncated(name, "its last Ogg page is not whole")
