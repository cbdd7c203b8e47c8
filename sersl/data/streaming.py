"""Records of a corpus in a bucket: whole files of records in a local cache of bounded size.

All processes of a machine share the cache. A file that a process reads is locked (shared), so that
no other removes it; the least recently used one is removed first. A thread fetches ahead as long as
there is room.
"""

import collections
import contextlib
import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from sersl.core.unfinished import short_name
from sersl.corpora.remote import Bucket, cache_folder

logger = logging.getLogger(__name__)

_RESERVED = ".reserved"  # ending of a file that reserves the room of a copy under way


class StreamedRecords:
    """Records by number, as an ArrayRecord data source; safe in many threads and processes."""

    def __init__(self, url: str, files: Sequence[str], lengths: Sequence[int], *, cache_bytes: int):
        """Starts to fetch ahead.

        Args:
          url: of the folder with the files.
          files: their names, in order.
          lengths: number of records in each.
          cache_bytes: of the cache, shared with all other corpora.
        """
        self._bucket, self._files = Bucket(url), tuple(files)
        self._first = np.cumsum([0, *lengths])
        self._cache = ShardCache(cache_folder() / "records", cache_bytes)
        self._lock = threading.Lock()
        self._names: dict[int, str] = {}
        threading.Thread(target=self._fetch_ahead, daemon=True).start()

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, row: int) -> bytes:
        shard = int(np.searchsorted(self._first, row, side="right")) - 1
        if not 0 <= row < len(self):
            raise IndexError(f"record {row} of {len(self)}")
        file = self._files[shard]
        reader = self._cache.reader(self._bucket, file, self._name(shard))
        expected = int(self._first[shard + 1] - self._first[shard])
        if len(reader.source) != expected:
            raise ValueError(f"{file} has {len(reader.source)} records, not {expected}")
        return reader.source[int(row - self._first[shard])]

    def _name(self, shard: int) -> str:
        """Names the local copy after the bucket, the file and its state."""
        with self._lock:
            known = self._names.get(shard)
        if known is None:
            file = self._files[shard]
            url = hashlib.sha256(self._bucket.url.encode()).hexdigest()[:16]
            known = f"{url}-{self._bucket.key(file)}-{file}"
            with self._lock:
                self._names[shard] = known
        return known

    def _fetch_ahead(self) -> None:
        try:
            for shard, file in enumerate(self._files):
                if not self._cache.fetch_if_room(self._bucket, file, self._name(shard)):
                    return
        except Exception as error:  # reading the file will raise it again
            logger.info("not fetched ahead: %s", error)


class _Reader:
    """An open file of records that cannot be removed while this object lives."""

    def __init__(self, path: Path):
        self._lock = os.open(path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        if not _is_same(self._lock, path):  # removed between opening and locking
            raise FileNotFoundError(path)
        os.utime(path)  # used now
        self.source = ArrayRecordDataSource(os.fspath(path))

    def __del__(self):
        if hasattr(self, "_lock"):
            os.close(self._lock)


class ShardCache:
    """Local copies of files of records, together of bounded size."""

    def __init__(self, folder: Path, max_bytes: int):
        """Opens nothing.

        Args:
          folder: of the copies.
          max_bytes: of all of them; a single larger one is kept alone.
        """
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.Lock()
        self._readers: collections.OrderedDict[str, _Reader] = collections.OrderedDict()
        self._warned = False

    def reader(self, bucket: Bucket, file: str, name: str) -> _Reader:
        """Opens a file, fetching it first if it is missing.

        Args:
          bucket: that has it.
          file: its name there.
          name: of the local copy.

        Returns:
          The reader; its file stays in the cache as long as the reader lives.

        Raises:
          UserError: it cannot be fetched or kept.
        """
        with self._lock:
            if name in self._readers:
                self._readers.move_to_end(name)
                return self._readers[name]
        while True:
            try:
                made = _Reader(self._folder / name)
                break
            except FileNotFoundError:
                # Locked until it is open, or another process could remove it unread.
                with (
                    self._fetched(bucket, file, name, asked=True),
                    contextlib.suppress(FileNotFoundError),
                ):
                    made = _Reader(self._folder / name)
                    break
        with self._lock:
            # Another thread may have been faster; its reader serves both.
            return self._readers.setdefault(name, made)

    def fetch_if_room(self, bucket: Bucket, file: str, name: str) -> bool:
        """Fetches a file ahead of its use.

        Args:
          bucket: that has it.
          file: its name there.
          name: of the local copy.

        Returns:
          Whether there was room without removing another.
        """
        with self._fetched(bucket, file, name, asked=False) as fetched:
            return fetched

    @contextlib.contextmanager
    def _fetched(self, bucket: Bucket, file: str, name: str, *, asked: bool) -> Iterator[bool]:
        """Fetches a file once for all processes; yields False if it needs more room."""
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / name
        with (self._folder / f".{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if asked else fcntl.LOCK_NB))
            except BlockingIOError:
                yield True  # another process fetches it
                return
            reserved = True
            if not target.exists():
                with self._reserve(target, bucket.size(file), asked=asked) as reserved:
                    if reserved:
                        bucket.fetch(file, target)
            yield reserved

    @contextlib.contextmanager
    def _reserve(self, target: Path, num_bytes: int, *, asked: bool) -> Iterator[bool]:
        """Reserves room for a copy under way, by a sparse file of its size.

        The file is locked, so that reservations of killed processes can be recognised.
        """
        place = self._folder / f".{target.name}{_RESERVED}"
        with (self._folder / ".room.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            room = self._max_bytes - num_bytes
            if asked:
                self._make_room(room)
            elif sum(size for _, size, _ in self._copies()) > room:
                yield False
                return
            file = place.open("w")
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(num_bytes)
        with file:
            try:
                yield True
            finally:
                place.unlink()

    def _copies(self) -> list[tuple[float, int, Path]]:
        """Lists copies and reservations, least recently used first; removes leftovers."""
        files = {entry.name: Path(entry.path) for entry in os.scandir(self._folder)}
        kept = {name for name in files if name.endswith(_RESERVED)}
        for name in list(kept):
            if _remove_unused(files[name]):  # of a killed process
                kept.discard(name)
        found = []
        for name, path in files.items():
            if ".part" in name and name.startswith("."):  # unfinished; the reservation counts
                owners = (k.removeprefix(".").removesuffix(_RESERVED) for k in kept)
                if not name.startswith(tuple(f".{short_name(owner)}." for owner in owners)):
                    path.unlink(missing_ok=True)
                continue
            whole = name.removeprefix(".").removesuffix(_RESERVED)
            if name.endswith(".lock") or (name in kept and whole in files):
                continue
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return sorted(found)

    def _make_room(self, room: int) -> None:
        """Removes the least recently used copies, but none that is being read."""
        copies = self._copies()
        used = sum(size for _, size, _ in copies)
        for _, size, path in copies:
            if used <= room:
                return
            if path.name.endswith(_RESERVED) or self._is_awaited(path.name):
                continue
            with self._lock:  # or the reader of this process would keep it
                self._readers.pop(path.name, None)
            if _remove_unused(path):
                used -= size
        if used > room and not self._warned:
            self._warned = True
            logger.warning(
                "the cache %s holds %.1f GB, more than data.cache_gigabytes, because all of it "
                "is being read: give it more",
                self._folder,
                (used + self._max_bytes - room) / 1e9,
            )

    def _is_awaited(self, name: str) -> bool:
        """Tells whether a process has fetched a copy and not opened it yet."""
        with (self._folder / f".{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _remove_unused(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(file)


def _is_same(file: int, path: Path) -> bool:
    try:
        return os.fstat(file).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
