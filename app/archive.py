"""A ZIP archive as a stream: it holds one chunk in memory, whatever the number of images."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterable, Iterator

CHUNK_BYTES = 1 << 16


def stream(files: Iterable[tuple[str, bytes]], modified_at: float) -> Iterator[bytes]:
    """The archive of these names and contents, in chunks. Not compressed, since PNGs already are."""
    window = _Window()
    with zipfile.ZipFile(window, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            archive.writestr(_entry(name, modified_at), content)
            if window.tell() - window.start >= CHUNK_BYTES:
                yield window.drain()
    yield window.drain()


def _entry(name: str, modified_at: float) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, time.gmtime(modified_at)[:6])
    entry.external_attr = 0o644 << 16
    return entry


class _Window(io.BytesIO):
    """The end of a file, from offset `start` on.

    zipfile seeks back to the header of each entry that it has written, to add its checksum. In a file without seeking
    it would append a data descriptor instead, which streaming readers cannot handle for stored entries.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = 0

    def tell(self) -> int:
        return self.start + super().tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.start + super().seek(offset - self.start, whence)

    def drain(self) -> bytes:
        """Returns and frees what was written since the last call."""
        chunk = self.getvalue()
        self.start += len(chunk)
        super().seek(0)
        self.truncate()
        return chunk
