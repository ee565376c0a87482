"""A document as a list of blocks, and how it is written as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import estimates
from estimates import Estimate


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph, or with ``items`` a list."""

    text: str = ""
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Cell:
    """What a table shows, and the number that it is sorted by; NaN comes last."""

    text: str
    value: float


@dataclass(frozen=True)
class Table:
    """A table; one that is not ``sortable`` is of sentences, and on a narrow screen a list of them."""

    columns: tuple[str, ...]
    rows: list[list[str | Cell]]
    sortable: bool = True


@dataclass(frozen=True)
class Figure:
    path: Path
    alt: str


@dataclass(frozen=True)
class Link:
    """A paragraph that leads to the page ``name`` beside this one, which is written in the same two ways."""

    text: str
    name: str


Block = Heading | Text | Code | Table | Figure | Link


def spread(values: Iterable[float], form: str = ".1f", least: float = -math.inf, most: float = math.inf) -> Cell:
    """Mean, standard deviation and 95 % interval of values by seed, for a table; the interval ends at the limits."""
    estimate = estimates.mean(list(values))
    text = format(estimate.mean, form)
    if estimate.sd is not None:
        text += f" ± {estimate.sd:{form}}\n({max(estimate.low, least):{form}} … {min(estimate.high, most):{form}})"
    return Cell(text, estimate.mean)


def accuracies(values: Iterable[float]) -> Cell:
    """The same of accuracies in percent."""
    return spread(values, least=0.0, most=100.0)


def apart(estimate: Estimate, form: str = "+.1f") -> Cell:
    """A difference and its 95 % interval, for a table."""
    text = format(estimate.mean, form)
    if estimate.half is not None:
        text += f"\n({estimate.low:{form}} … {estimate.high:{form}})"
    return Cell(text, estimate.mean)


def count(n: int) -> Cell:
    return Cell(f"{n:,}", n)


def number(value: float, digits: int) -> Cell:
    return Cell(f"{value:.{digits}f}", value)


def to_markdown(blocks: Sequence[Block], root: Path) -> str:
    def safe(text: str) -> str:
        # An underscore inside a word is safe as it is.
        return re.sub(r"([\\`*<>|\[\]]|\b_|_\b)", r"\\\1", text).replace("\n", "<br>")

    def cell(content: str | Cell) -> str:
        return safe(content.text if isinstance(content, Cell) else content)

    parts = []
    for block in blocks:
        match block:
            case Heading(text, level):
                parts.append(f"{'#' * level} {safe(text)}")
            case Text(text, items):
                parts.append("\n".join(f"- {safe(item)}" for item in items) or safe(text))
            case Code(text):
                parts.append(f"```sh\n{text}\n```")
            case Link(text, name):
                parts.append(f"[{safe(text)}]({name}.md)")
            case Figure(path, alt):
                parts.append(f"![{safe(alt)}]({path.relative_to(root).as_posix()})")
            case Table(columns, rows):
                right = [any(isinstance(row[i], Cell) for row in rows) for i in range(len(columns))]
                lines = [columns, ["---:" if number else "---" for number in right], *rows]
                lines = [lines[0], lines[1], *lines[2:]]
                shown = [map(safe, columns), lines[1], *(map(cell, row) for row in rows)]
                parts.append("\n".join(f"| {' | '.join(line)} |" for line in shown))
    return "\n\n".join(parts) + "\n"


# Words of a table that are shown in a colour, see STYLE.
MARKED = ("holds", "does not hold", "not decided")

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #0072b2 }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem }
h1, h2, h3 { line-height: 1.2; margin-top: 2rem }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px }
pre { overflow-x: auto; background: var(--soft); padding: .6rem .8rem; border-radius: 4px }
li { overflow-wrap: anywhere }
.table { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
td.number { text-align: right; white-space: nowrap }
th { border-bottom-width: 2px; vertical-align: bottom }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer }
th button { text-align: inherit }
th[aria-sort=ascending] button::after { content: " ▲" }
th[aria-sort=descending] button::after { content: " ▼" }
td.holds { color: #00704f; font-weight: 600 }
td.does-not-hold { color: #b04500; font-weight: 600 }
td.not-decided { opacity: .7 }
@media (max-width: 45rem) {
  table.sentences, .sentences tbody, .sentences tr, .sentences td { display: block }
  .sentences thead { display: none }
  .sentences tr { border-bottom: 2px solid var(--line); padding: .6rem 0 }
  .sentences td { border: 0; padding: .1rem 0 }
  .sentences td::before { content: attr(data-label) ": "; font-weight: 400; opacity: .7 }
}
@media (prefers-color-scheme: dark) { td.holds { color: #4fd6ad } td.does-not-hold { color: #ff9d5c } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const numeric = [...body.rows].every((row) => "value" in row.cells[column].dataset);
      const compare = numeric
        ? (a, b) => key(a) - key(b)
        : (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
      const missing = (row) => numeric && key(row) === "";
      const rows = [...body.rows].sort((a, b) =>
        missing(a) - missing(b) || (up ? 1 : -1) * compare(a, b));
      body.append(...rows);
    });
  });
}
"""


def to_html(blocks: Sequence[Block]) -> str:
    def safe(text: str) -> str:
        return html.escape(text).replace("\n", "<br>")

    def cell(content: str | Cell, column: str) -> str:
        label = f' data-label="{safe(column)}"'
        if isinstance(content, Cell):
            value = "" if math.isnan(content.value) else repr(float(content.value))
            return f'<td class="number" data-value="{value}"{label}>{safe(content.text)}</td>'
        kind = content.replace(" ", "-") if content in MARKED else "prose" if len(content) > 60 else ""
        return f'<td class="{kind}"{label}>{safe(content)}</td>'

    parts = []
    for block in blocks:
        match block:
            case Heading(text, level):
                parts.append(f"<h{level}>{safe(text)}</h{level}>")
            case Text(text, items):
                inner = "".join(f"<li>{safe(item)}</li>" for item in items)
                parts.append(f"<ul>{inner}</ul>" if items else f"<p>{safe(text)}</p>")
            case Code(text):
                parts.append(f"<pre>{safe(text)}</pre>")
            case Link(text, name):
                parts.append(f'<p><a href="{safe(name)}.html">{safe(text)}</a></p>')
            case Figure(path, alt):
                picture = base64.b64encode(path.read_bytes()).decode()
                parts.append(f'<p><img src="data:image/png;base64,{picture}" alt="{safe(alt)}"></p>')
            case Table(columns, rows, sortable):
                wrap = "<th><button>{}</button></th>" if sortable else "<th>{}</th>"
                top = "".join(wrap.format(safe(column)) for column in columns)
                body = "\n".join(f"<tr>{''.join(map(cell, row, columns))}</tr>" for row in rows)
                kind = "sortable" if sortable else "sentences"
                parts.append(
                    f'<div class="table" tabindex="0"><table class="{kind}"><thead><tr>{top}</tr></thead>\n'
                    f"<tbody>{body}</tbody></table></div>"
                )
    title = next(safe(block.text) for block in blocks if isinstance(block, Heading))
    content = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{content}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
