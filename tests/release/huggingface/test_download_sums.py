"""Folders of a download are compared with the checksums that huggingface_hub leaves beside them."""

import hashlib
import os
import time

import pytest

from sersl.core.errors import UserError
from sersl.release.huggingface.download_sums import check_downloads
from sersl.release.huggingface.importing import import_folder
from tests.release.fake_source import write_source


def _names(folder):
    """The name of every file on a hub: SHA-256 of weights, and what git calls the others."""
    names = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        is_large = path.suffix == ".safetensors"
        names[path.name] = hashlib.sha256(content).hexdigest() if is_large else git
    return names


@pytest.fixture(params=["cache", "folder"])
def downloaded(request, tmp_path):
    """A folder of the cache of huggingface_hub, or one of `hf download --local-dir`."""
    source = write_source(tmp_path / "source")
    names = _names(source)
    if request.param == "folder":
        notes = source / ".cache" / "huggingface" / "download"
        notes.mkdir(parents=True)
        for name, checksum in names.items():
            (notes / f"{name}.metadata").write_text(f"{'c' * 40}\n{checksum}\n{time.time()}\n")
        return source
    folder = tmp_path / "models--a--b" / "snapshots" / ("c" * 40)
    blobs = tmp_path / "models--a--b" / "blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    for name, checksum in names.items():
        os.rename(source / name, blobs / checksum)
        (folder / name).symlink_to(blobs / checksum)
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_import_when_a_downloaded_file_has_one_other_bit_then_it_is_refused(
    downloaded, tmp_path, name
):
    check_downloads(downloaded)
    path = downloaded / name
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-2] ^= 1 if name.endswith("safetensors") else 0x20
    path.write_bytes(content)
    os.utime(path, (status.st_atime, status.st_mtime))  # as of a fault of the disk
    with pytest.raises(UserError, match=rf"{name} .*(damaged|cannot be read)"):
        import_folder(downloaded, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_folder_when_edited_or_without_checksums_then_nothing_is_compared(tmp_path):
    source = write_source(tmp_path / "source")
    check_downloads(source)
    notes = source / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    (notes / "config.json.metadata").write_text(f"{'c' * 40}\n{'a' * 40}\n{time.time() - 60}\n")
    (notes / "model.safetensors.metadata").write_text("rubbish")
    check_downloads(source)
