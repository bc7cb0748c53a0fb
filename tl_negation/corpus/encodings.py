"""From the bytes of a file to its text, and what is refused because it is no prose."""

import codecs
import csv
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
TABLES = (
    ".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".feather", ".xlsx",
    ".xls", ".pkl",
)  # fmt: skip
DOCUMENTS = (
    ".html", ".htm", ".xml", ".pdf", ".epub", ".mobi", ".docx", ".doc", ".odt", ".rtf", ".ps",
    ".gz", ".zip", ".bz2", ".xz", ".7z",
)  # fmt: skip
#: What begins a document or an archive, as it comes out of Latin-1 or UTF-8.
_SIGNATURES = ("%PDF-", "%!PS", "{\\rtf", "BZh", "\xd0\xcf\x11\xe0", "\xfd7zXZ", "\x1f\x8b")
_HTML = re.compile(
    r"\s*(?:<!--.*?-->\s*)?<(?:!doctype\b|(?:html|head|body|tei|rss|svg|p|div)[\s>]|\?xml\s)",
    re.IGNORECASE | re.DOTALL,
)
_JSON = re.compile(r'\[\s*[{"]|\[\s*\[\s*["{]|\{\s*"[^"\n]*"\s*:')
_SEVERAL_BYTES = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
#: The apostrophe of an old Macintosh, which Latin-1 and Windows-1252 read as a capital O with a
#: tilde: never after a small letter and before one of these endings.
_MACINTOSH = re.compile(rb"[a-z]\xd5(?:[dmst]|ll|re|ve)\b")


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
    if _MACINTOSH.search(data):
        return _decode_as("mac_roman", data, name)
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
    if lower.endswith(TABLES) or _is_json(text) or _is_csv(text):
        raise ValueError(
            f"{name!r} is a table, not prose; name the column that holds the text: "
            f'load_text("hf:{name}?column=text") reads a file, load_text(rows, column="text") rows '
            f"that you have read yourself; if its rows are labelled examples, "
            f"examples(path, tokenizer) or --examples reads them"
        )
    if lower.endswith(DOCUMENTS) or is_html(text) or text.startswith(_SIGNATURES):
        raise ValueError(f"{name!r} is not plain text; save the text that it holds as .txt, UTF-8")


def is_html(text: str) -> bool:
    """Whether a text begins as a page in HTML or XML does."""
    return _HTML.match(text[:2000]) is not None


def _is_json(text: str) -> bool:
    """Whether the text begins as objects or lists of texts in JSON do; "[1]" may be a footnote."""
    beginning = text.lstrip()[:100_000]
    if not beginning.startswith(("{", "[")):
        return False
    if _JSON.match(beginning):
        return True
    line = beginning.partition("\n")[0].strip().rstrip(",")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return bool(value) and not all(isinstance(each, (int, float)) for each in value)


def _is_csv(text: str) -> bool:
    """Whether the first lines have as many fields as the names in the very first."""
    lines = [line for line in text[:100_000].splitlines()[:20] if line.strip()]
    if len(lines) < 3:
        return False
    for delimiter in ",;\t|":
        try:
            head, *rows = csv.reader(lines, delimiter=delimiter)
        except csv.Error:
            continue
        named = all(re.fullmatch(r"[^\W\d]\w{0,30}", name) for name in head)
        several = len(head) > 2 or delimiter == "\t" or any('"' in line for line in lines)
        alike = all(len(row) == len(head) for row in rows)
        if len(head) > 1 and len(set(head)) == len(head) and named and several and alike:
            return True
    return False
