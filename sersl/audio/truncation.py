"""Files cut short that libsndfile reads as if they were whole."""

import re

import soundfile

from sersl.core.errors import UserError

OGG_PAGE = 65_307  # the largest page, in bytes (RFC 3533, sec. 6)


def check_data_chunk(file: soundfile.SoundFile, name: str) -> None:
    """Finds a WAV cut short: libsndfile corrects the length in silence, but writes it down.

    Args:
      file: opened.
      name: for the sentence.

    Raises:
      UserError: it holds fewer bytes than its header says.
    """
    if file.format not in ("WAV", "WAVEX"):
        return
    found = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    # Programs that write to a pipe put 0 or about 2^31 or 2^32 there: no claim, so nothing is cut.
    if found and int(found[2]) < int(found[1]) < 0x7FFF0000:
        raise UserError(
            f"{name} is truncated: it holds {found[2]} of {found[1]} bytes of samples; "
            "copy it again or leave it out"
        )


def check_last_page(tail: bytes, name: str) -> None:
    """Finds an Ogg file cut short: libsndfile takes the last page that is whole as the end.

    Args:
      tail: the last bytes of the file, `OGG_PAGE` of them.
      name: for the sentence.

    Raises:
      UserError: the last page is not whole.
    """
    page = tail[tail.rfind(b"OggS") :]
    # RFC 3533, sec. 6: byte 26 counts the segments, whose lengths follow, then the segments.
    if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        raise UserError(
            f"{name} is truncated: its last Ogg page is not whole; copy it again or leave it out"
        )
