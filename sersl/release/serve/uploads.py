"""Reads what a request sends, a file as it is or a form with one, within limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from sersl.core.display import one_line
from sersl.release.serve.service_limits import Memory, RefusedError

_LONGEST_NAME = 200  # characters of a file's name in an answer
_DRAIN_SECONDS = 2.0  # of reading on, so that a client that only writes gets its answer
_FORM_BYTES = 100_000  # of the parts of a form beside the file
_VIEW_BYTES = 4_000_000  # more, for models that read further views: 512 vectors of 768 numbers


class Upload(NamedTuple):
    """What a request sends.

    Attributes:
      name: for the answer, and of the rows in tables; never a path to open.
      content: of the file.
      views: content of the fields of a form that are views.
    """

    name: str
    content: bytes
    views: dict[str, bytes]


class Held:
    """The bytes that one request holds of the memory of all."""

    def __init__(self, memory: Memory):
        """Starts with none."""
        self._memory = memory
        self._count = 0

    def take(self, count: int) -> None:
        """Counts more bytes; see `Memory.take`."""
        self._memory.take(count)
        self._count += count

    def give_back(self) -> None:
        """Gives all bytes back."""
        self._memory.give_back(self._count)
        self._count = 0


async def read_upload(
    request: Request, held: Held, *, most: int, views: Collection[str] = ()
) -> Upload:
    """Reads the file of a request, and its views.

    Args:
      request: a file as its body, with its name in the query as `name`; or a multipart form.
      held: counts the bytes.
      most: bytes of the file.
      views: fields of a form to read beside the file.

    Raises:
      RefusedError: too large, empty, compressed, or a form without a file, with several, or
        where there are `views` with an unknown field.
      ClientDisconnect: the client has left.
    """
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise RefusedError(
            415, f"Content-Encoding {one_line(coding[:40])} is not read: send the file as it is"
        )
    kind = request.headers.get("content-type", "")
    form = kind.lower().startswith("multipart/form-data")
    largest = most + (_FORM_BYTES + (_VIEW_BYTES if views else 0) if form else 0)
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > largest):
        await _drain(request, most)
        raise _too_large(most)
    name, content = shown_name(request.query_params.get("name", "-")), bytearray()
    form_file = _FormFile(kind, views) if form else None
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > largest:
            await _drain(request, most)
            raise _too_large(most)
        held.take(len(chunk))
        if form_file is None:
            content += chunk
        else:
            form_file.add(chunk)
    if form_file is not None:
        name, content = shown_name(form_file.name), form_file.content()
    if len(content) > most:
        raise _too_large(most)
    if not content:
        raise RefusedError(422, "the upload is empty (0 bytes): send a file of audio")
    fields = {} if form_file is None else form_file.fields
    return Upload(name, bytes(content), {key: bytes(value) for key, value in fields.items()})


class _FormFile:
    """The only file of a multipart form and its fields that are views, while its bytes come."""

    def __init__(self, content_type: str, views: Collection[str] = ()):
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 200:
            raise RefusedError(400, "the form has no boundary: send it with curl -F file=@a.wav")
        self.name = "-"
        self.fields: dict[str, bytearray] = {}
        self._views = views
        self._content = bytearray()
        self._found = self._inside = False
        self._into: bytearray | None = None  # where the bytes of this part go
        self._header = self._value = b""
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_data,
            "on_part_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a TypedDict

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes of the form."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise RefusedError(400, "the form is damaged: send it again") from error

    def content(self) -> bytearray:
        """Gives the content of the file, once all bytes have come."""
        if not self._found:
            raise RefusedError(
                400, "the form has no file: send it with curl -F file=@a.wav, or the file alone"
            )
        if self._inside:
            raise RefusedError(400, "the form ends within its file: send it again")
        return self._content

    def _begin(self) -> None:
        self._header = self._value = b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            field = options.get(b"name", b"").decode("utf-8", "backslashreplace")
            if field in self._views:
                if field in self.fields:
                    raise RefusedError(400, f"the form has view {field!r} twice: send it once")
                self._into = self.fields[field] = bytearray()
            elif b"filename" in options:
                if self._found:
                    raise RefusedError(400, "the form has several files: send each by itself")
                self.name = options[b"filename"].decode("utf-8", "backslashreplace")
                self._found = self._inside = True
                self._into = self._content
            elif self._views:
                raise RefusedError(
                    400,
                    f"the form has a field {field[:60]!r}, and this model reads "
                    f"{', '.join(self._views)} beside the file: leave it out, or name one of these",
                )
        self._header = self._value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._into is not None:
            self._into += data[start:end]

    def _end(self) -> None:
        if self._into is self._content:
            self._inside = False
        self._into = None


def shown_name(name: str) -> str:
    """Shortens and escapes a name from outside, which becomes a text of an answer, never a path."""
    return one_line(name[-_LONGEST_NAME:]) or "-"


async def _drain(request: Request, most: int) -> None:
    """Reads on for a moment: a client that is still writing would not see the answer."""
    if "expect" in request.headers:
        return  # it has not begun to write
    left = most
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in _rest(request):
                left -= len(chunk)
                if left < 0:
                    return


async def _rest(request: Request) -> AsyncIterator[bytes]:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def _too_large(most: int) -> RefusedError:
    return RefusedError(
        413, f"the upload is larger than {most / 1e6:g} MB: compress it, or cut it into files"
    )
