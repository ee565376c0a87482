"""A page as a list of blocks, written as Markdown and as one self-contained HTML file by the templates beside this."""

import base64
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from report.charts import Chart, script
from report.text import FAILS, HOLDS, UNDECIDED, Cell
from runner import files
from runner.errors import printable

CLASS_OF_VERDICT = {HOLDS: "holds", FAILS: "fails", UNDECIDED: "undecided"}  # in style.css


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


Row = list[str | Cell]


@dataclass(frozen=True)
class Table:
    """A table; one that is not ``sortable`` is of sentences, and on a narrow screen a list of them."""

    columns: tuple[str, ...]
    rows: Sequence[Row]
    sortable: bool = True

    @property
    def has_numbers(self) -> list[bool]:
        """Whether a column holds numbers, which are aligned on the right."""
        return [any(isinstance(row[i], Cell) for row in self.rows) for i in range(len(self.columns))]


@dataclass(frozen=True)
class Figure:
    path: Path
    alt: str
    content: bytes  # of a PNG, as the page shows it whatever becomes of the file
    chart: Chart | None = None  # what a page shows in its place, where that can be drawn


@dataclass(frozen=True)
class Link:
    """A paragraph that leads to the page ``name`` beside this one, which is written in the same two ways."""

    text: str
    name: str


@dataclass(frozen=True)
class Contents:
    """Links to the headings of a page below its title; in Markdown there are none, as GitHub makes them."""


@dataclass(frozen=True)
class Folded:
    """Blocks for who wants them, behind a line that a click opens."""

    summary: str
    blocks: Sequence["Block"]


Block = Heading | Text | Code | Table | Figure | Link | Contents | Folded


def list_of(sentences: Iterable[str]) -> list[Block]:
    """Make a list of the sentences that are not empty; no block where none is left."""
    items = tuple(filter(None, sentences))
    return [Text(items=items)] if items else []


def escape_markdown(text: str) -> str:
    """Make text of any origin a line of Markdown that shows it: no markup, and no line breaks but its own as <br>."""
    return "<br>".join(_escape_line(printable(line).strip()) for line in text.strip().split("\n"))


def _escape_line(line: str) -> str:
    # An underscore inside a word is safe as it is; what begins a link by itself is broken.
    line = re.sub(r"[\\`*<>|\[\]~&$]|\b_+\b|(?<!\w)_+|_+(?!\w)|:(?=//)|(?<=www)\.|@", _escape_letters, line, flags=re.I)
    # At the start of a line: headings, rules, and items of both kinds of lists.
    return re.sub(r"^(\d*)([-+#.)])(?=[-+#\s]|$)", r"\1\\\2", line)


def _escape_letters(match: re.Match) -> str:
    return "".join("\\" + letter for letter in match[0])


def _finalize(value: object) -> object:
    """Clean all text of a page, one piece at a time; what is marked as safe is made of such pieces."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), undefined=jinja2.StrictUndefined,
    autoescape=lambda name: name == "page.html.j2", finalize=_finalize,
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
)  # fmt: skip
TEMPLATES.filters |= {
    "kind": lambda block: type(block).__name__,
    "markdown": escape_markdown,
    "html_line": lambda text: escape(printable(text)),
    "relative_to": lambda path, folder: Path(os.path.relpath(path, folder)),  # a copy of a run may be beside it
    "url": lambda path: quote(os.fsencode(path.as_posix())),
    "quote": lambda name: quote(os.fsencode(name)),
    "json": lambda content: Markup(json.dumps(content).replace("<", "\\u003c")),  # whatever names hold
    "base64": lambda content: base64.b64encode(content).decode(),
}


def prose(name: str, **values: object) -> Text:
    """Return the paragraph or the list ``name`` of ``templates/prose.md.j2``."""
    template = TEMPLATES.get_template("prose.md.j2")
    text = "\n" + "".join(template.blocks[name](template.new_context(values))).strip()
    first, *items = (" ".join(part.splitlines()).strip() for part in text.split("\n- "))
    return Text(first, tuple(items))


def to_markdown(blocks: Sequence[Block], folder: Path) -> str:
    """Write a page as Markdown, with its figures' paths relative to ``folder``."""
    shown = [block for block in blocks if not isinstance(block, Contents)]
    return TEMPLATES.get_template("page.md.j2").render(blocks=shown, folder=folder)


def write_page(blocks: Sequence[Block], folder: Path, name: str, is_live: bool = False) -> Path:
    """Write ``name.md``, and ``name.html`` that holds its figures, style and script; return the latter's path.

    A page that ``is_live`` says when it was written, and loads itself again until it is written as one that is not.
    """
    now = datetime.now().astimezone() if is_live else None
    if now:
        note = Text(f"Written at {now:%Y-%m-%d %H:%M:%S}; this page loads itself again while something runs.")
        blocks = [blocks[0], note, *blocks[1:]]
    files.write_file(folder / f"{name}.md", to_markdown(blocks, folder))
    title = next(block.text for block in blocks if isinstance(block, Heading))
    html = TEMPLATES.get_template("page.html.j2")
    path = folder / f"{name}.html"
    headings = [(place, block) for place, block in enumerate(blocks) if isinstance(block, Heading)]
    contents = [(place, heading) for place, heading in headings[1:] if heading.level < 3]
    facts = dict(title=title, contents=contents, written_at=now and now.timestamp())
    # A page that loads itself again would forget what was switched off, and has pictures.
    has_charts = not is_live and any(isinstance(block, Figure) and block.chart for block in blocks)
    facts["chart_script"] = Markup(script() or "") if has_charts else ""
    files.write_file(path, html.render(blocks=blocks, class_of_verdict=CLASS_OF_VERDICT, **facts))
    return path
