"""Corpora that anybody may download, with their published checksums.

A corpus is listed only if an official host serves it without a form and publishes its size or
checksum; for all others `About.how_to_get` names whom to ask.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
      url: at the owner's host.
      num_bytes: size; None where it is not published.
      checksum: "sha256:..." or "md5:...", as published.
    """

    url: str
    num_bytes: int | None
    checksum: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return PurePosixPath(urlsplit(self.url).path).name


def _openslr(part: str, num_bytes: int, sha256: str) -> Archive:
    url = f"https://www.openslr.org/resources/12/{part}.tar.gz"
    return Archive(url, num_bytes, f"sha256:{sha256}")


def _librilight(part: str, md5: str) -> Archive:
    return Archive(f"https://dl.fbaipublicfiles.com/librilight/data/{part}.tar", None, f"md5:{md5}")


# Corpus -> part -> archive. Sources: sizes and MD5 of Zenodo's records 1188976 and 4526477;
# LibriSpeech as in tensorflow-datasets, `datasets/librispeech/checksums.tsv`; MD5 of Libri-Light
# as in its repository, `data_preparation/README.md`.
ARCHIVES: dict[str, dict[str, Archive]] = {
    "ravdess": {
        "speech": Archive(
            "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
            208_468_073,
            "md5:bc696df654c87fed845eb13823edef8a",
        )
    },
    "subesco": {
        "speech": Archive(
            "https://zenodo.org/records/4526477/files/SUBESCO.zip?download=1",
            1_664_512_929,
            "md5:13d702cf944bf54d70d66bffc036ed7a",
        )
    },
    "librispeech": {
        part: _openslr(part, num_bytes, sha256)
        for part, num_bytes, sha256 in (
            (
                "dev-clean",
                337_926_286,
                "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
            ),
            (
                "dev-other",
                314_305_928,
                "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
            ),
            (
                "test-clean",
                346_663_984,
                "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
            ),
            (
                "test-other",
                328_757_843,
                "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
            ),
            (
                "train-clean-100",
                6_387_309_499,
                "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
            ),
            (
                "train-clean-360",
                23_049_477_885,
                "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
            ),
            (
                "train-other-500",
                30_593_501_606,
                "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
            ),
        )
    },
    "librilight": {  # 35 GB, 321 GB and 3.05 TB
        "small": _librilight("small", "c49207eb86a8e8ac895561c37232041e"),
        "medium": _librilight("medium", "c75e7ac62471bfbf2db77528d62a9b74"),
        "large": _librilight("large", "4dfbac018f50b99797ece101fc9f0c30"),
    },
}
