"""Protobuf's text, the form of Caffe's definitions, read and written without the library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from opencv_squeezedet.errors import ModelError
from opencv_squeezedet.formats._schema import ARRAYS, RANGES, Field, Message, Record, Schema

_DEEPEST = 64
_MOST_TOKENS = 1 << 18  # ten times what public networks need
_LONGEST_SHOWN = 40
_TOKEN = re.compile(
    r"""\s* (?: \#[^\n]* \s* )* (?:
      (?P<word> [A-Za-z_]\w* )
    | (?P<number> -?[ ]* (?:
        0[xX][0-9a-fA-F]+ | (?: \d+ (?:\.\d*)? | \.\d+ ) (?: [eE][+-]?\d+ )? [fF]? | inf | nan
      ) (?![\w.]) )
    | (?P<string> "(?: [^"\\\n] | \\. )*" | '(?: [^'\\\n] | \\. )*' )
    | (?P<mark> [][{}<>:;,] )
    | (?P<other> \S )
    | (?P<end> \Z )
    )""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_ESCAPED = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True))
_WRITTEN = {byte: f"\\{name}" for name, byte in zip("nrt\\'\"", b"\n\r\t\\'\"", strict=True)}
_CLOSING = {"{": "}", "<": ">"}
_BOOLS = {"true": True, "false": False, "t": True, "f": False, "1": True, "0": False}
_END = "the end of the text"


def parse(text: str, schema: Schema, kind: str) -> Message:
    """Read a message; fields that the schema does not have are ignored.

    Raises
    ------
    ModelError
        That tells the line and the column where it is not such a message.
    """
    return _Parser(text, schema).message(kind, _END, 0)


def text_of(record: Record, schema: Schema, kind: str) -> str:
    """Return the text of a message, its fields in the order of their numbers, as protobuf's own library writes it."""
    return "".join(f"{line}\n" for line in _lines(record, schema, kind))


def _lines(record: Record, schema: Schema, kind: str) -> Iterator[str]:
    for field, values in schema.fields_of(record, kind):
        for value in values if field.repeated else (values,):
            if field.kind in schema.fields:
                yield f"{field.name} {{"
                yield from (f"  {line}" for line in _lines(value, schema, field.kind))
                yield "}"
            else:
                yield f"{field.name}: {_shown(field, value, schema)}"


def _shown(field: Field, value: Any, schema: Schema) -> str:
    if field.kind in schema.enums:
        return schema.enums[field.kind][int(value)]
    if field.kind == "string":
        return f'"{_quoted(value)}"'
    if field.kind == "bool":
        return "true" if value else "false"
    return str(value)


def _quoted(text: str) -> str:
    """The text with what a line of it cannot hold as escapes."""
    return "".join(_WRITTEN.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in text.encode())


class _Parser:
    """Always one token ahead."""

    def __init__(self, text: str, schema: Schema) -> None:
        self._text, self._schema = text, schema
        self._tokens = self._tokenized()
        self._what, self._token, self._at = "", "", 0
        self._advance()

    def message(self, kind: str | None, closing: str, depth: int) -> Message:
        """The fields up to the closing mark; of a message of no known kind they are passed over."""
        if depth > _DEEPEST:
            raise self._error(f"a message that lies in more than {_DEEPEST} others")
        message = Message(self._schema, kind or "")
        while self._token != closing:
            if self._what != "word":
                raise self._error(f"the name of a field, or {closing}, was expected, got {self._shown()}")
            name = self._advance()
            field = message.fields.get(name)
            self._field(message, field, depth)
            if self._token in (";", ","):
                self._advance()
        if closing != _END:
            self._advance()
        return message

    def _field(self, message: Message, field: Field | None, depth: int) -> None:
        colon = self._token == ":"
        if colon:
            self._advance()
        if self._token != "[":
            self._take(message, field, colon, depth)
            return
        self._advance()
        while self._token != "]":
            if field is not None and not field.repeated:
                raise self._error(f"one value of {field.name!r} was expected, got a list")
            self._take(message, field, colon, depth)
            if self._token == ",":
                self._advance()
            elif self._token != "]":
                raise self._error(f"a comma or ] was expected, got {self._shown()}")
        self._advance()

    def _take(self, message: Message, field: Field | None, colon: bool, depth: int) -> None:
        """One value of a field; it goes nowhere if there is no such field."""
        value = self._value(field, colon, depth)
        if field is None:
            return
        if field.repeated:
            message.given.setdefault(field.name, []).append(value)
        elif field.name in message.given:
            raise self._error(f"{field.name!r} is there twice")
        else:
            message.given[field.name] = value

    def _value(self, field: Field | None, colon: bool, depth: int) -> Any:
        nested = field is not None and field.kind in self._schema.fields
        if self._token in _CLOSING and (nested or field is None):
            return self.message(field.kind if field else None, _CLOSING[self._advance()], depth + 1)
        if nested or not colon or self._what not in ("word", "number", "string"):
            raise self._error(f"a {'message' if nested else 'colon and a value'} was expected, got {self._shown()}")
        if self._what == "string" and (field is None or field.kind in ("string", "bytes")):
            return self._strings(field)
        if field is None:
            return self._advance()
        return self._scalar(field)

    def _strings(self, field: Field | None) -> str | bytes:
        """Strings that follow each other are one."""
        content = b""
        while self._what == "string":
            content += _unescaped(self._advance()[1:-1])
        if field is not None and field.kind == "bytes":
            return content
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise self._error(f"text was expected, got {content[:_LONGEST_SHOWN]!r}") from None

    def _scalar(self, field: Field) -> Any:
        """A number, a truth value or a name of an enum, as the field's kind says."""
        value = self._converted(field.kind)
        if value is None:
            raise self._error(f"{field.name!r} must be a {field.kind}, got {self._shown()}")
        self._advance()
        return value

    def _converted(self, kind: str) -> float | None:
        """The token as a value of this kind; None if it is none."""
        word, number = self._token, self._what == "number"
        names = self._schema.enums.get(kind, [])
        if word in names:
            return names.index(word)
        if names and number:
            index = _whole(word)
            return index if index in range(len(names)) else None
        if kind == "bool":
            return _BOOLS.get(word)
        if kind in ARRAYS and (number or word in ("inf", "nan")):
            return _real(word)
        if kind in RANGES and number:
            least, end = RANGES[kind]
            value = _whole(word)
            return value if value is not None and least <= value < end else None
        return None

    # ---- tokens --------------------------------------------------------------------------------------------------------

    def _tokenized(self) -> Iterator[tuple[str, str, int]]:
        """What each token is, its text, and where it begins."""
        for count, match in enumerate(_TOKEN.finditer(self._text)):
            kind = str(match.lastgroup)
            if kind == "end":
                return
            if kind == "other":
                self._at = match.start(kind)
                raise self._error(f"no word, number, string or mark begins with {match[kind]!r}")
            if count == _MOST_TOKENS:
                raise ModelError(f"it has more than {_MOST_TOKENS} words, numbers and marks")
            yield kind, match[kind], match.start(kind)

    def _advance(self) -> str:
        """Take the next token; returns the one before."""
        before = self._token
        found = next(self._tokens, None)
        if found is None:
            self._what, self._token = "end", _END
        else:
            self._what, self._token, self._at = found
        return before

    def _shown(self) -> str:
        if self._what == "end":
            return _END
        return repr(self._token if len(self._token) <= _LONGEST_SHOWN else f"{self._token[:_LONGEST_SHOWN]} ...")

    def _error(self, message: str) -> ModelError:
        line = self._text.count("\n", 0, self._at) + 1
        return ModelError(f"{line}:{self._at - self._text.rfind(chr(10), 0, self._at)}: {message}")


def _unescaped(text: str) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if letter is not None:
            return bytes([_ESCAPED.get(letter[0], letter[0])])
        return bytes([int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)])

    return _ESCAPE.sub(one, text.encode("utf-8", "surrogatepass"))


def _whole(word: str) -> int | None:
    """The whole number that a token of no more than a number's length is in C."""
    digits = word.replace(" ", "")
    if len(digits) > _LONGEST_SHOWN:
        return None
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") and digits != "0" else 10
    try:
        return sign * int(digits, base)
    except ValueError:
        return None


def _real(word: str) -> float | None:
    """The number that a token is in C; None where it is none."""
    whole, digits = _whole(word), word.replace(" ", "")
    if whole is not None:
        return float(whole)
    try:
        return float(digits if digits.endswith(("inf", "nan")) else digits.rstrip("fF"))
    except ValueError:  # a number to the base of 16 that is too long to be one
        return None
