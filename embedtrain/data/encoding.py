"""A file's bytes as UTF-8 text, or a message that says which encoding it more likely has."""

import codecs
import re
from pathlib import Path

from embedtrain.errors import UserError

# UTF-32's little-endian mark begins with UTF-16's, so it is looked for first.
_WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_utf8(path: Path, *, label: str) -> str:
    """Read a text file as UTF-8; a byte order mark in front is accepted and left out.

    Raises:
        UserError: The file cannot be opened, is empty, is binary, or is in another encoding (file and line are named).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{label}: cannot be read: {error.strerror or error}") from error
    for mark, encoding in _WIDE_MARKS:
        if data.startswith(mark):
            raise UserError(f"{label}: the file is {encoding.upper()}, expected UTF-8; {_convert(path, encoding)}")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise UserError(f"{label}: line {line} holds a NUL byte: this is a binary file, expected UTF-8 text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(_undecodable(data, path=path, label=label)) from error
    if not text.strip():
        raise UserError(f"{label}: the file is empty")
    return text


def _undecodable(data: bytes, *, path: Path, label: str) -> str:
    bad: dict[int, bytes] = {}
    has_utf8_lines = False
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
            has_utf8_lines = has_utf8_lines or not line.isascii()
        except UnicodeDecodeError:
            bad[number] = line
    number, line = next(iter(bad.items()))
    encoding = _likely_encoding(b"\n".join(bad.values()))
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    shown = line.decode(encoding, errors="replace").strip()[:80]
    cure = "other lines are UTF-8, so mend these alone" if has_utf8_lines else _convert(path, encoding)
    return f"{label}: line {number}{more} is not UTF-8; read as {encoding} it says '{shown}'; {cure}"


def _likely_encoding(data: bytes) -> str:
    """GB 18030 writes Chinese in pairs of bytes that are mostly both high; in Windows-1252 a high byte stands alone."""
    runs = re.findall(rb"[\x80-\xff]+", data)
    in_runs = sum(len(run) for run in runs if len(run) > 1)
    if in_runs > 0.8 * sum(map(len, runs)):
        try:
            data.decode("gb18030")
        except UnicodeDecodeError:
            return "cp1252"
        return "gb18030"
    return "cp1252"


def _convert(path: Path, encoding: str) -> str:
    return f"convert it: iconv -f {encoding} -t utf-8 {path} > {path.stem}.utf8{path.suffix}"
