"""Parts of a page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from report import page, stats, text
from report.charts import Chart
from runner.errors import printable
from tests.helpers.internals import blank_png
from tests.unit.test_console import acts_on_a_screen, any_text

markup = st.text("#*_-+`~<>|[]()!&;:/.=\\$ \n\r\t01wah@\x1b\u202e", max_size=30)


def test_intervals_of_accuracies_end_where_accuracies_do():
    assert text.accuracy_cell([1.0, 40.0]).text == "20.5 ± 27.6\n(0.0 … 100.0)"
    assert text.accuracy_cell([40.0, 42.0]).text == "41.0 ± 1.4\n(28.3 … 53.7)"
    assert text.mean_cell([1.0, 40.0]).text == "20.5 ± 27.6\n(-227.3 … 268.3)"


def test_intervals_end_at_their_bounds_and_have_digits_enough():
    bias = stats.mean([20.0, 60.0, 99.0])
    assert text.percent_text(bias, bounds=(0, 100)) == "59.7 (0.0 … 100.0) %"
    assert text.percent_text(bias) == "59.7 (-38.5 … 157.8) %"
    assert text.points_text(stats.mean([-4.70, -4.71, -4.69])) == "-4.70 (-4.72 … -4.68) points"
    assert text.points_text(stats.mean([2.0, 2.0])) == "+2.0 (+2.0 … +2.0) points"


def test_folded_blocks_are_there_behind_one_line():
    folded = page.Folded("The <rules>", [page.Text("one"), page.Table(("a", "b"), [["x", "y"]])])
    blocks = [page.Heading("Page"), folded, page.Text("after")]
    markdown = page.to_markdown(blocks, Path())
    inside = "one\n\n| a | b |\n| --- | --- |\n| x | y |\n\n"
    assert f"<details><summary>The &lt;rules&gt;</summary>\n\n{inside}</details>\n\nafter" in markdown
    assert re.search(
        r"<details><summary>The &lt;rules&gt;</summary>\n<p>one</p>\n<div.*</details>", _html(blocks), re.S
    )


def unescaped(line):
    """The letters of a line of Markdown that no backslash keeps from being markup."""
    return re.sub(r"\\[!-/:-@\\[-`{-~]", "", line.replace("<br>", ""))


@settings(deadline=None)
@given(any_text | markup)
@example("# All claims hold")
@example("x](y) ![z](http://127.0.0.1/z.png)")
@example("name\r\r# heading")
@example("1. one")
@example("- - -")
@example("__init__ and www.example.org")
@example("trailing \\")
def test_markdown_shows_any_text_and_takes_none_of_it_for_markup(text):
    line = page.escape_markdown(text)
    assert not [letter for letter in line if acts_on_a_screen(letter)]
    assert not re.search(r"[\\*`<>|\[\]~&$@]|://|(?i:www\.)", unescaped(line))
    assert not re.match(r"\s|#{1,6}(\s|$)|[-+](\s|$)|\d+[.)](\s|$)|-+\s*$", line.replace("<br>", "x", 1) or "x")
    shown = re.sub(r"\\([!-/:-@\\[-`{-~])", r"\1", line.replace("<br>", "\n"))
    assert shown == "\n".join(printable(part).strip() for part in text.strip().split("\n"))


def test_markdown_reads_as_a_renderer_reads_it():
    renderer = pytest.importorskip("markdown_it", reason="needs markdown-it-py")
    reader = renderer.MarkdownIt("commonmark").enable(["table", "strikethrough"])

    @settings(deadline=None)
    @given(any_text | markup)
    def check(text):
        cell = page.escape_markdown(text)
        source = f"- {cell}\n\n{cell}\n\n| a | b |\n|---|---|\n| {cell} | x |\n"
        tokens = reader.parse(source)
        kinds = {token.type for token in tokens} | {
            child.type for token in tokens for child in token.children or () if child.content != "<br>"
        }
        allowed = "bullet_list list_item paragraph table thead tbody tr th td".split()
        assert kinds <= {f"{kind}_{end}" for kind in allowed for end in ("open", "close")} | {
            "inline", "text", "text_special", "softbreak"
        }  # fmt: skip
        assert sum(token.type == "td_open" for token in tokens) == 2

    check()


@settings(deadline=None)
@given(any_text | markup)
@example("\ud800 \udcff")
def test_page_shows_any_text_as_text_alone(name):
    # Of surrogates a file's name has those alone that stand for bytes which are no UTF-8.
    path = Path("folder") / ("figure " + re.sub(r"[/\x00\ud800-\udc7f\udd00-\udfff]", "", name))
    blocks, plain = _blocks(path, name), _blocks(Path("folder/figure"), "x")
    html, plain_html = (_html(each) for each in (blocks, plain))
    assert _tags(html) == _tags(plain_html)
    markdown, plain_markdown = (page.to_markdown(each, Path("folder")) for each in (blocks, plain))
    assert re.search(r"\]\([\w.~%-]+\)\n", markdown)
    for written in (html, markdown):
        assert not [letter for letter in written if letter != "\n" and acts_on_a_screen(letter)]
    assert len(markdown.split("\n")) == len(plain_markdown.split("\n"))


def _html(blocks):
    return page.TEMPLATES.get_template("page.html.j2").render(
        blocks=blocks, title=blocks[0].text, contents=[], written_at=None, chart_script="", class_of_verdict={}
    )


def _blocks(path, name):
    """One of each kind, with ``name`` wherever there is text."""
    table = page.Table((name, "b"), [[name, text.Cell(name, 1.0)]])
    heading, paragraph, items = page.Heading(name), page.Text(name + "."), page.Text(items=(name, name))
    figure = page.Figure(path, name, blank_png())
    flat = [heading, paragraph, items, page.Code(name), page.Link(name, "gallery"), table, figure]
    return [*flat, page.Folded(name, flat)]


def _tags(html):
    found = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag != "br":
                found.append(tag)

    Tags().feed(html)
    return found


def test_charts_stand_in_place_of_pictures_where_they_can_be_drawn(tmp_path, monkeypatch):
    chart = Chart([{"data": {"values": [{"line": "</script><b>"}]}}], {"<b>": "#0072B2"})
    blocks = [page.Heading("A page", 1), page.Figure(tmp_path / "a.png", "a figure", b"png", chart)]
    for bundle, is_live, is_drawn in (("/* draws */", False, True), ("/* draws */", True, False), (None, False, False)):
        monkeypatch.setattr(page, "script", lambda found=bundle: found)
        html = page.write_page(blocks, tmp_path, "report", is_live).read_text(encoding="utf-8")
        assert ("/* draws */" in html) == ('<div class="chart"' in html) == is_drawn
        assert html.count("<img ") == 1  # with charts for who runs no scripts
        assert "<b>" not in html
        if is_drawn:
            [specs] = re.findall('<script type="application/json">(.*)</script>', html)
            assert json.loads(specs) == chart.specs
