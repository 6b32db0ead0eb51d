"""Texts that hold the names of files, which may hold anything, made fit to be written and to be looked at."""

import re


def readable(text: str) -> str:
    r"""Return a text with the bytes of file names that are no UTF-8 as escapes, such as \xe9: it can be written anywhere.

    So are halves of characters, which JSON may hold.
    """
    whole = re.sub("[\ud800-\udc7f\udd00-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
    return whole.encode(errors="surrogateescape").decode(errors="backslashreplace")


def one_line(text: str) -> str:
    """Return a text of several lines, perhaps, as one, `visible`."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    r"""Return a text with control characters and ends of lines as escapes, such as \x1b: names of files may hold them."""
    control = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
    return re.sub(control, lambda found: found[0].encode("unicode_escape").decode(), text)


def cell(text: str) -> str:
    """Return a text that stays in its cell of a CSV, and that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return ("'" if text.startswith(("=", "+", "-", "@")) else "") + visible(text)
