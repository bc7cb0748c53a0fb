"""From the bytes of a file to its text, and what is refused because it is no prose."""

import codecs
import json
import re

#: The longest marks first: that of UTF-32 begins with that of UTF-16.
_MARKED = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
#: What files that hold tables or documents in a format of their own are called.
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".feather", ".xlsx")
DOCUMENTS = (".html", ".htm", ".xml", ".pdf", ".epub", ".docx", ".odt", ".rtf", ".gz", ".zip")
_SEVERAL_BYTES = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)


def decode(data: bytes, name: str) -> tuple[str, str]:
    """Decode a text, and say how.

    Raises
    ------
    ValueError
        It is binary, or not what its byte-order mark announces.
    """
    for mark, encoding in _MARKED:
        if data.startswith(mark):
            return _decode_as(encoding, data, name)
    if b"\0" in data:
        raise ValueError(f"{name!r} is binary (it holds NUL bytes); save it as plain text, UTF-8")
    try:
        return data.decode("utf-8"), "ascii" if data.isascii() else "utf-8"
    except UnicodeDecodeError:
        text = data.decode("utf-8", errors="replace")
    # Characters of several bytes hardly occur by chance in a text of another encoding.
    damaged = text.count("\ufffd")
    if len(_SEVERAL_BYTES.findall(data)) > damaged:
        return text, f"utf-8, {damaged} damaged characters replaced"
    # 0x80-0x9F are control characters in Latin-1 and typographic marks in Windows-1252.
    windows = any(0x80 <= byte <= 0x9F for byte in set(data))
    return _decode_as("cp1252" if windows else "latin-1", data, name)


def _decode_as(encoding: str, data: bytes, name: str) -> tuple[str, str]:
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name!r} cannot be read as text ({encoding}: {error.reason} at byte {error.start}); "
            "save it as UTF-8"
        ) from error


def check_is_prose(name: str, text: str = "") -> None:
    """Refuse a table or a document in a format of its own, which would be read as prose.

    Raises
    ------
    ValueError
        The file's name or the text's beginning says so.
    """
    lower = name.lower()
    if lower.endswith(TABLES) or _is_json(text):
        raise ValueError(
            f"{name!r} is a table, not prose; name the column that holds the text: "
            f'load_text("hf:{name}?column=text") reads a file, load_text(rows, column="text") rows '
            f"that you have read yourself"
        )
    if lower.endswith(DOCUMENTS) or is_html(text) or text.startswith("%PDF"):
        raise ValueError(f"{name!r} is not plain text; save the text that it holds as .txt, UTF-8")


def is_html(text: str) -> bool:
    """Whether a text begins as a page in HTML or XML does."""
    return (
        re.match(
            r"\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|\?xml)\b", text[:2000], re.I | re.S
        )
        is not None
    )


def _is_json(text: str) -> bool:
    """Whether the first line is an object or a list in JSON."""
    line = text.lstrip()[:100_000].partition("\n")[0]
    if not line.startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(line), (dict, list))
    except ValueError:
        return line.strip() in ("{", "[")
