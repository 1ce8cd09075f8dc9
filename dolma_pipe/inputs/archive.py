"""The records of a web archive (WARC 0.17 to 1.1, WET, WAT) by their place: what is whole, and what is broken.

A reader that must account for every byte cannot leave the framing to FastWARC: that passes over a header with bare
line feeds without a word, ends at the first broken record, and takes a cut gzip stream for the end of the file. So
records are cut out here, a broken one is told, and reading goes on at the next line that begins with `WARC/`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from dolma_pipe.shards import MAX_RAW
from dolma_pipe.streams import Decompressed

MAX_HEADER = 256 << 10
COMPACT = 1 << 20
_MAGIC = b"WARC/"
_NEXT = re.compile(rb"\n(?=WARC/[01]\.)")
_AHEAD = len("\nWARC/1")
_BLANK = re.compile(rb"[\r\n]*")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_CONTENT_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r?$")


class Record(NamedTuple):
    """One record, or a stretch of bytes that is none.

    `number` counts from 1; `offset` is that of its first byte in the decompressed file, `frame` that of its gzip
    member or zstd frame in the stored one. `data` holds header and block; of a record that is `fault`y or longer than
    the limit not more than the first 64 KiB.
    """

    number: int
    offset: int
    frame: int
    data: bytes
    length: int
    fault: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.fault is None and len(self.data) == self.length


class Archive:
    """The records of one file, in order; what is held at once is a record of at most `limit` bytes, and a chunk."""

    def __init__(self, stream: Decompressed, limit: int) -> None:
        self._window = _Window(stream)
        self._limit = limit

    def __iter__(self) -> Iterator[Record]:
        number, more = 0, True
        while more:
            while (found := self._next(number + 1)) is not None:
                number += 1
                yield found
            more = self._window.cross_gap()

    def _next(self, number: int) -> Record | None:
        """The record that begins here, or what is there instead; None where the file ends, or has a gap."""
        window = self._window
        window.skip_blank_lines()
        if not window.holds(1):
            fault = window.take_fault()
            return None if fault is None else Record(number, window.offset, window.frame, b"", 0, fault)
        header = window.header()
        if header is None:
            cut = window.take_fault() if window.has_ended else None
            return self._broken(number, cut or "no WARC record begins here")
        declared = _CONTENT_LENGTH.search(window.held, window.start, window.start + header)
        if declared is None:
            return self._broken(number, "a WARC record without a valid Content-Length")
        return self._framed(number, header, int(declared[1]))

    def _framed(self, number: int, header: int, block: int) -> Record:
        window, length = self._window, header + block
        if block > self._limit:
            return self._overlong(number, length)
        if not window.holds(length):
            why = window.take_fault() or "the file ends"
            return self._broken(
                number, f"{why}: {window.size - header} of {block} bytes of the block are there", header
            )
        if not window.record_ends_at(length):
            return self._broken(number, f"Content-Length {block} is wrong: no record begins behind the block", header)
        offset, frame = window.offset, window.frame
        return Record(number, offset, frame, window.take(length), length)

    def _overlong(self, number: int, length: int) -> Record:
        """A record too long to be held: its head, and how long it is."""
        window = self._window
        window.holds(MAX_RAW)
        offset, frame, head = window.offset, window.frame, window.peek(min(MAX_RAW, length - 1))
        passed = window.skip(length)
        why = None if passed == length else f"{window.take_fault() or 'the file ends'}: {passed} of {length} bytes"
        return Record(number, offset, frame, head, length if why is None else passed, why)

    def _broken(self, number: int, reason: str, known: int = 0) -> Record:
        """All bytes to the next record; it begins behind the first `known` ones."""
        window = self._window
        window.holds(MAX_RAW)
        offset, frame, head = window.offset, window.frame, window.peek(MAX_RAW)
        length = window.skip_to_record(known)
        return Record(number, offset, frame, head[:length], length, reason)


class _Window:
    """The bytes of a stream that were read and not yet taken; a gap in the stream ends it until it is crossed."""

    def __init__(self, stream: Decompressed) -> None:
        self.held = bytearray()
        self.start = 0
        self.offset = 0
        self.has_ended = False
        self._stream = stream
        self._chunks = iter(stream)
        self._behind_gap = b""
        self._frames: deque[tuple[int, int]] = deque()
        self._fault: str | None = None

    @property
    def size(self) -> int:
        return len(self.held) - self.start

    @property
    def frame(self) -> int:
        """Stored offset of the frame that holds the next byte."""
        while len(self._frames) > 1 and self._frames[1][0] <= self.offset:
            self._frames.popleft()
        return self._frames[0][1] if self._frames else 0

    def take_fault(self) -> str | None:
        """Why the bytes end where they do; it is told once."""
        fault, self._fault = self._fault, None
        return fault

    def holds(self, count: int) -> bool:
        """Whether `count` bytes are there before the file ends."""
        while self.size < count and self._fill():
            pass
        return self.size >= count

    def _fill(self) -> bool:
        chunk = b"" if self.has_ended else next(self._chunks, b"")
        if not self.has_ended and (not chunk or self._stream.fault is not None):
            self.has_ended, self._behind_gap = True, chunk
            self._fault, self._stream.fault = self._stream.fault, None
        if self.has_ended:
            return False
        self._append(chunk)
        return True

    def _append(self, chunk: bytes) -> None:
        if self.start > COMPACT:
            del self.held[: self.start]
            self.start = 0
        self._frames.append((self.offset + self.size, self._stream.frame))
        self.held += chunk

    def cross_gap(self) -> bool:
        """Go on with what lies behind a gap; False at the end of the file."""
        if not self._behind_gap:
            return False
        self.has_ended = False
        self._append(self._behind_gap)
        self._behind_gap = b""
        return True

    def _drop(self, count: int) -> None:
        self.start += count
        self.offset += count

    def peek(self, count: int) -> bytes:
        return bytes(self.held[self.start : self.start + count])

    def take(self, count: int) -> bytes:
        found = self.peek(count)
        self._drop(count)
        return found

    def skip(self, count: int) -> int:
        """Pass over `count` bytes, or as many as there are."""
        passed = 0
        while passed < count and self.holds(1):
            step = min(count - passed, self.size)
            self._drop(step)
            passed += step
        return passed

    def skip_blank_lines(self) -> None:
        while self.holds(1):
            blank = _BLANK.match(self.held, self.start)
            self._drop(blank.end() - self.start if blank else 0)
            if self.size:
                return

    def header(self) -> int | None:
        """Length of the WARC header that begins here with its blank line, None where there is none."""
        if not self.holds(len(_MAGIC)) or not self.held.startswith(_MAGIC, self.start):
            return None
        wanted = 4096
        while wanted <= MAX_HEADER:
            more = self.holds(wanted)
            if end := _HEADER_END.search(self.held, self.start, self.start + MAX_HEADER):
                return end.end() - self.start
            wanted = wanted * 4 if more else MAX_HEADER + 1
        return None

    def record_ends_at(self, length: int) -> bool:
        """Whether a blank line, another record or nothing follows."""
        self.holds(length + 4 + len(_MAGIC))
        rest = bytes(self.held[self.start + length : self.start + length + 4 + len(_MAGIC)])
        behind = rest.lstrip(b"\r\n")
        return rest.startswith((b"\r\n\r\n", b"\n\n")) or _MAGIC.startswith(behind) or behind.startswith(_MAGIC)

    def skip_to_record(self, known: int) -> int:
        """Pass over all bytes to the next line that begins a record, which lies behind the first `known`."""
        passed = self.skip(known)
        while self.holds(_AHEAD + 1):
            found = _NEXT.search(self.held, self.start)
            step = found.end() - self.start if found else self.size - _AHEAD
            passed += self.skip(step)
            if found:
                return passed
        return passed + self.skip(self.size)
