"""Compares the length in the headers of uncompressed containers with the size of the file.

libsndfile corrects a length that is too large without an error, so it reads half a file as if it
were whole.
"""

import re
import struct
from dataclasses import dataclass

from sersl.audio.faults import truncated
from sersl.audio.source import OpenSource
from sersl.audio.view import Piece

_MOST_CHUNKS = 4096  # before the samples
_GUID_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of most chunks of W64
_UNKNOWN_64 = 1 << 62  # and above: not counted
# Format tags of WAV.
MPEG_CODINGS = (0x50, 0x55)  # MPEG layer 1 or 2, MPEG layer 3
_SAMPLE_BY_SAMPLE = (1, 3, 6, 7)  # integers, floats, A-law, mu-law


@dataclass(frozen=True)
class Samples:
    """The position of the samples in a container.

    Attributes:
      start: first byte of the samples.
      counted: bytes of samples by the header; None: its writer did not know.
      size: bytes of the file from `start` on.
      coding: of WAV, the format tag; 0 elsewhere.
      patches: (offset, bytes) to put into the header so that libsndfile reads the samples.
      last: whether libsndfile reads what follows the samples as samples.
    """

    start: int
    counted: int | None
    size: int
    coding: int = 0
    patches: tuple[tuple[int, bytes], ...] = ()
    last: bool = False

    @property
    def stop(self) -> int:
        """The end of the samples."""
        return self.start + (self.size if self.counted is None else min(self.counted, self.size))

    def pieces(self, file_size: int) -> list[Piece]:
        """Returns the file as libsndfile can read it: with patches, and ending with the samples."""
        pieces: list[Piece] = []
        end = self.stop if self.last else file_size
        position = 0
        for offset, data in self.patches:
            pieces += [(position, offset), data]
            position = offset + len(data)
        return [*pieces, (position, end)]


def find_samples(source: OpenSource) -> Samples | None:
    """Finds the samples of WAV, RF64, BW64, W64, AIFF, SVX, CAF, AU, NIST, VOC and AVR files.

    Args:
      source: the file.

    Returns:
      None for other containers, and where no chunk of samples is found.

    Raises:
      UserError: the file has fewer samples than its header states.
    """
    magic, kind = source.head[:4], source.head[8:12]
    if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64") and kind == b"WAVE":
        found = _riff(source)
    elif magic == b"RIFF" and kind == b"AVI ":
        found = Samples(8, _known_32(struct.unpack_from("<I", source.head, 4)[0]), source.size - 8)
    elif magic == b"FORM":
        found = _form(source)
    elif magic == b"riff" and len(source.head) >= 40:
        found = _w64(source)
    elif magic == b"caff":
        found = _caf(source)
    elif magic in (b".snd", b"dns.") and len(source.head) >= 12:
        found = _au(source)
    elif magic == b"NIST":
        found = _nist(source)
    elif source.head.startswith(b"Creative Voice File\x1a"):
        found = _voc(source)
    elif magic == b"2BIT" and len(source.head) >= 30:
        found = _avr(source)
    else:
        found = None
    if found is not None:
        _check_whole(source.name, found)
    return found


def _check_whole(name: str, found: Samples) -> None:
    if found.counted is None or found.counted <= found.size:
        return
    # Known mistakes of writers: they count the header of the chunk, or the header of the file.
    slips = (8, 36, 44, found.start - 8, found.start)
    if found.counted - found.size not in slips:
        detail = f"it holds {max(0, found.size)} of {found.counted} bytes of samples"
        raise truncated(name, detail)


def _known_32(size: int) -> int | None:
    """Returns None for the placeholders of writers that do not know: about 2^31 or 2^32."""
    return None if 0x7FFF0000 <= size <= 0x80010000 or size >= 0xFFFFFF00 else size


def _chunks(
    source: OpenSource, first: int, layout: str, wanted: tuple[bytes, ...], *, pad: int
) -> dict[bytes, tuple[int, int]]:
    """Walks chunks up to the samples.

    Args:
      source: the file.
      first: offset of the first chunk.
      layout: of a chunk's header, for `struct`: name and size.
      wanted: names of the chunk that has the samples.
      pad: chunks begin at multiples of it.

    Returns:
      Name to (offset of the content, size as written), of the first chunk of each name.
    """
    found: dict[bytes, tuple[int, int]] = {}
    header = struct.calcsize(layout)
    position = first
    for _ in range(_MOST_CHUNKS):
        data = source.read_at(position, header)
        if len(data) < header:
            break
        name, size = struct.unpack(layout, data)
        found.setdefault(name, (position + header, size))
        if name in wanted or size < 0:
            break
        # The size of a chunk of W64 includes its header.
        after = position + (max(size, header) if header == 24 else header + size)
        position = after + -after % pad
    return found


def _riff(source: OpenSource) -> Samples | None:
    order = ">" if source.head[:4] == b"RIFX" else "<"
    chunks = _chunks(source, 12, f"{order}4sI", (b"data",), pad=2)
    if b"data" not in chunks:
        return None
    start, size = chunks[b"data"]
    counted, patches = _known_32(size), []
    if source.head[:4] == b"BW64":
        patches.append((0, b"RF64"))  # the same layout
    if b"ds64" in chunks and size == 0xFFFFFFFF:
        at = chunks[b"ds64"][0] + 8
        counted = int.from_bytes(source.read_at(at, 8), "little")
        if not 0 < counted < _UNKNOWN_64:
            counted = None
            patches.append((at, struct.pack("<Q", max(0, source.size - start))))
    riff = struct.unpack_from(f"{order}I", source.head, 4)[0]
    if size == 0 and (_known_32(riff) in (None, 0, start - 8)) and source.size > start:
        # The writer could not go back to count.
        counted = None
        patches.append((start - 4, b"\xff" * 4))
    coding = _coding(source, chunks, order)
    # Of codings in blocks, the last block may not be whole.
    last = coding not in _SAMPLE_BY_SAMPLE
    return Samples(start, counted, source.size - start, coding, tuple(patches), last)


def _coding(source: OpenSource, chunks: dict[bytes, tuple[int, int]], order: str) -> int:
    if b"fmt " not in chunks:
        return 0
    data = source.read_at(chunks[b"fmt "][0], 26)
    if len(data) < 2:
        return 0
    tag = struct.unpack_from(f"{order}H", data)[0]
    if tag == 0xFFFE and len(data) == 26:  # extensible: the tag begins a GUID
        tag = struct.unpack_from(f"{order}H", data, 24)[0]
    return int(tag)


def _form(source: OpenSource) -> Samples | None:
    chunks = _chunks(source, 12, ">4sI", (b"SSND", b"BODY"), pad=2)
    if b"BODY" in chunks:
        start, size = chunks[b"BODY"]
        return Samples(start, _known_32(size) or None, source.size - start, last=True)
    if b"SSND" not in chunks:
        return None
    start, size = chunks[b"SSND"]
    start += 8  # offset and size of blocks
    counted = _known_32(size)
    return Samples(start, counted - 8 if counted else None, source.size - start)


def _w64(source: OpenSource) -> Samples | None:
    data = b"data" + _GUID_TAIL
    chunks = _chunks(source, 40, "<16sq", (data,), pad=8)
    if data not in chunks:
        return None
    start, size = chunks[data]
    counted = size - 24 if 24 < size < _UNKNOWN_64 else None
    return Samples(start, counted, source.size - start, last=True)


def _caf(source: OpenSource) -> Samples | None:
    chunks = _chunks(source, 8, ">4sq", (b"data",), pad=1)
    if b"data" not in chunks:
        return None
    start, size = chunks[b"data"]
    start += 4  # number of edits
    present = source.size - start
    if size < 4 and present > 0:  # -1: to the end of the file
        return Samples(
            start, None, present, patches=((start - 12, struct.pack(">q", present + 4)),)
        )
    return Samples(start, size - 4 if size > 4 else None, present)


def _au(source: OpenSource) -> Samples:
    order = ">" if source.head[:4] == b".snd" else "<"
    start, size = struct.unpack_from(f"{order}II", source.head, 4)
    present = source.size - start
    if size == 0 and present > 0:
        return Samples(start, None, present, patches=((8, b"\xff" * 4),))
    return Samples(start, _known_32(size), present)


def _nist(source: OpenSource) -> Samples | None:
    text = source.read_at(0, 65_536).decode("latin-1")
    head = re.match(r"NIST_1A\s+(\d{1,9})\s", text)
    fields = {
        name: re.search(rf"^{name} -\w+ (\S+)", text, re.MULTILINE)
        for name in ("sample_count", "channel_count", "sample_n_bytes", "sample_coding")
    }
    if head is None:
        return None
    numbers = [
        int(found[1])
        for name, found in fields.items()
        if name != "sample_coding" and found and found[1].isdigit() and len(found[1]) < 18
    ]
    coding = fields["sample_coding"]
    packed = coding is not None and "shorten" in coding[1]
    start = int(head[1])
    size = source.size - start
    counted = None if packed or len(numbers) < 3 else numbers[0] * numbers[1] * numbers[2]
    if counted is not None and counted == size * numbers[1]:
        counted = size  # some writers count the samples of all channels
    return Samples(start, counted, size, last=True)


def _voc(source: OpenSource) -> Samples | None:
    position = int.from_bytes(source.read_at(20, 2), "little")
    for _ in range(_MOST_CHUNKS):
        head = source.read_at(position, 4)
        if len(head) < 4 or not head[0]:
            break
        size = int.from_bytes(head[1:], "little")
        if head[0] in (1, 9):  # sound data, and the newer kind of it
            before = 2 if head[0] == 1 else 12  # rate, coding...
            start = position + 4 + before
            return Samples(start, max(0, size - before), source.size - start, last=True)
        position += 4 + size
    return None


def _avr(source: OpenSource) -> Samples:
    stereo, bits = struct.unpack_from(">HH", source.head, 12)
    frames = struct.unpack_from(">I", source.head, 26)[0]
    counted = frames * (2 if stereo else 1) * max(1, bits // 8)
    return Samples(128, counted, source.size - 128, last=True)
