"""Stored bytes in, decompressed bytes out; a cut or broken archive gives what it holds and says where it ends."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec
import xxhash
import zstandard
from isal import isal_zlib

from dolma_pipe import storage
from dolma_pipe.errors import DataError

_BROKEN: tuple[type[Exception], ...] = (
    zlib.error,
    isal_zlib.error,  # pyright: ignore[reportAssignmentType]  # its stub takes the class for an instance
    zstandard.ZstdError,
    lzma.LZMAError,
    OSError,  # as `bz2` says it; nothing is read where it is caught
)
PORTION = 128 << 10
"""Stored bytes given to a decompressor at once: what bounds the memory of highly compressible archives."""

GZIP, ZSTD, BZIP2, XZ, PLAIN = "gzip", "zstd", "bzip2", "xz", "plain"
ENDINGS = {".gz": GZIP, ".zst": ZSTD, ".bz2": BZIP2, ".xz": XZ}
"""What names of compressed files end in. Documents are written, and read as a data set, as the first two only."""

_FRAME = {GZIP: b"\x1f\x8b\x08", ZSTD: b"\x28\xb5\x2f\xfd", BZIP2: b"BZh", XZ: b"\xfd7zXZ\0"}
"""What a member or frame begins with."""

_DICTIONARY = b"\x5d\x2a\x4d\x18"
"""What a skippable frame with a dictionary begins with."""

MAX_DICTIONARY = 64 << 20
ZSTD_LEVEL, GZIP_LEVEL = 2, 2  # zstd's 3 is 5 % smaller and takes half as long again; this is still below gzip's 6


def compression(path: str) -> str:
    """By extension, as every peer has it; else plain."""
    return next((kind for ending, kind in ENDINGS.items() if path.lower().endswith(ending)), PLAIN)


class Decompressed:
    """The decompressed bytes of one file, in chunks.

    After the last chunk `size` and `hash` (xxh3-128) describe the stored bytes, and `fault` says why the
    archive ended early (None when it is whole). `frame` is the stored offset at which the frame of the last chunk
    begins (0 in a plain file). With `resume`, reading goes on at the next frame behind a broken one: a chunk that
    comes with a `fault` lies behind a gap, and the caller clears the fault.
    """

    def __init__(self, path: str, *, resume: bool = False) -> None:
        self.path = path
        self.size = 0
        self.frame = 0
        self._resume = resume
        self.fault: str | None = None
        self._hash = xxhash.xxh3_128()

    @property
    def hash(self) -> str:
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        with storage.open_read(self.path) as stream:
            kind = compression(self.path)
            if kind == PLAIN:
                yield from self._stored(stream)
            else:
                yield from self._frames(stream, kind)

    def _stored(self, stream: BinaryIO) -> Iterator[bytes]:
        while chunk := stream.read(PORTION):
            self.size += len(chunk)
            self._hash.update(chunk)
            yield chunk

    def _frames(self, stream: BinaryIO, kind: str) -> Iterator[bytes]:
        dictionary: zstandard.ZstdCompressionDict | None = None
        decoder, started = _decoder(kind, dictionary), False
        for stored in self._stored(stream):
            rest = stored
            if kind == ZSTD and self.size == len(stored) and stored.startswith(_DICTIONARY):
                dictionary = _dictionary(self.path)
                decoder = _decoder(kind, dictionary)
            while rest and (self.fault is None or self._resume):
                if not started and kind in (GZIP, XZ) and not rest.strip(b"\0"):
                    break  # these allow zeros after the last member
                if not started:
                    self.frame = self.size - len(rest)
                try:
                    decoded = decoder.decompress(rest)
                except _BROKEN as error:
                    self.fault = self.fault or f"broken {kind} stream: {error}"
                    rest = _from_next_frame(rest if started else rest[1:], kind)
                    decoder, started = _decoder(kind, dictionary), False
                    continue
                started = True
                if decoded:
                    yield decoded
                rest = b""
                if decoder.eof:
                    rest = decoder.unused_data
                    decoder, started = _decoder(kind, dictionary), False
        if self.fault is None and started:
            self.fault = f"truncated {kind} stream"
        if self.fault is None and self.size == 0:
            self.fault = f"empty file, not a {kind} stream"


def _from_next_frame(stored: bytes, kind: str) -> bytes:
    """What begins with the next sign of a frame; none of it without one."""
    found = stored.find(_FRAME[kind])
    return stored[found:] if found >= 0 else b""


def _dictionary(path: str) -> zstandard.ZstdCompressionDict | None:
    """The dictionary of all frames in a skippable first one, itself compressed or not: what `.warc.zst` files have.

    None where it cannot be read: the frames that need it tell their fault.
    https://iipc.github.io/warc-specifications/specifications/warc-zstd/
    """
    with storage.open_read(path) as stream:
        size = int.from_bytes(stream.read(8)[4:], "little")
        found = stream.read(size) if size <= MAX_DICTIONARY else b""
    try:
        if found.startswith(_FRAME[ZSTD]):
            found = zstandard.ZstdDecompressor().decompressobj().decompress(found)
        dictionary = zstandard.ZstdCompressionDict(found) if found else None
        _decoder(ZSTD, dictionary)  # refuses a broken one
    except zstandard.ZstdError:
        return None
    return dictionary


def _decoder(kind: str, dictionary: zstandard.ZstdCompressionDict | None) -> Any:
    if kind == GZIP:
        return isal_zlib.decompressobj(wbits=31)
    if kind in (BZIP2, XZ):
        return bz2.BZ2Decompressor() if kind == BZIP2 else lzma.LZMADecompressor(lzma.FORMAT_XZ)
    return zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()


def compressor(path: str, stream: Any) -> Any:
    """A writer that compresses into `stream` by the extension of `path`; `.close()` ends the frame, not the stream."""
    kind = compression(path)
    if kind == ZSTD:
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).stream_writer(stream, closefd=False)
    return _Gzip(stream) if kind == GZIP else _Plain(stream)


class _Plain:
    def __init__(self, stream: Any) -> None:
        self.write = stream.write

    def close(self) -> None:
        """Nothing to finish."""


class _Gzip:
    """One gzip member; zlib writes no time and no name into its header, so equal content gives equal bytes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._compressor = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, 31)

    def write(self, data: Any) -> None:
        self._stream.write(self._compressor.compress(data))

    def close(self) -> None:
        self._stream.write(self._compressor.flush())


def decompressed(path: str) -> bytes:
    """A whole file; a fault in its compression is a `DataError`."""
    source = Decompressed(path)
    found = b"".join(source)
    if source.fault is not None:
        raise DataError(f"{path}: {source.fault}")
    return found


def json_objects(path: str) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, compressed or not; blank lines are none, anything else is a `DataError`."""
    for number, line in enumerate(decompressed(path).split(b"\n"), 1):
        if line.strip():
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise DataError(f"{path}:{number}: not a JSON object: {error}") from error
