"""Pieces of HTML that the page is put together from. Text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(head: Sequence[str], rows: Iterable[str], numbers_from: int = 1) -> str:
    """`rows` are finished <tr> elements; columns from `numbers_from` on are aligned right."""
    cells = "".join(
        f'<th scope="col" class="n">{escape(name)}</th>'
        if place >= numbers_from
        else f'<th scope="col">{escape(name)}</th>'
        for place, name in enumerate(head)
    )
    wide = ' class="wide"' if len(head) >= 5 else ""
    return (
        f'<div class="card scroll"><table{wide}><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def cells(row: Sequence[str], numbers_from: int = 1) -> str:
    return "".join(
        f'<td class="n">{escape(cell)}</td>'
        if place >= numbers_from
        else f"<td>{escape(cell)}</td>"
        for place, cell in enumerate(row)
    )


def section(title: str, inside: str) -> str:
    return f"<section><h2>{title}</h2>{inside}</section>\n"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{inside}</dl>"


def listed(title: str, items: Sequence[str]) -> str:
    inside = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<div><h2>{title}</h2><ul>{inside}</ul></div>"
