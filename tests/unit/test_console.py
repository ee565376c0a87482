"""What is said on the screen."""

import io
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import console
from runner.config import Config
from runner.errors import RunnerError, one_line

MARKS = "\u061c\u200e\u200f"  # which turn the direction of what is beside them
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
any_text = st.text(st.characters(), max_size=40) | st.text("\x1b[]0;2J\r\n\t\x9b\u202e\u2028\x85 a", max_size=20)


def acts_on_a_screen(letter):
    """Whether a character moves the cursor, ends a line, or turns the direction of others."""
    in_category = unicodedata.category(letter) in ("Cc", "Zl", "Zp")
    return in_category or unicodedata.bidirectional(letter) in BIDI or letter in MARKS


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "6→8 é × \\udcff"), ("cp1252", "6\\u21928 é × \\udcff"), ("ascii", "6\\u21928 \\xe9 \\xd7 \\udcff")],
)
def test_only_what_a_stream_can_not_show_is_escaped(monkeypatch, encoding, shown):
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", screen)
    console.print_text("6→8 é × \udcff")
    assert screen.buffer.getvalue().decode(encoding).splitlines() == [shown]


@settings(deadline=None)
@given(any_text, st.sampled_from(["data", "warning", "printed", "error"]))
def test_one_line_stays_one_line_and_acts_on_no_screen(text, how):
    with pytest.MonkeyPatch.context() as patch:
        screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
        patch.setattr("sys.stdout", screen)
        patch.setattr("sys.stderr", screen)
        console.set_up_logging()
        if how == "data":
            console.stdout_log(text).info(f"{text} and %s")
        elif how == "warning":
            console.log.warning(text)
        elif how == "error":
            console.log.warning(one_line(RunnerError(text)))
        else:
            console.print_text(text)
        shown = screen.buffer.getvalue().decode()
    assert shown.endswith("\n")
    assert shown.count("\n") == 1 + (text.count("\n") if how == "printed" else 0)
    assert not [letter for letter in shown if letter != "\n" and acts_on_a_screen(letter)]


@pytest.mark.parametrize(
    "text", ["Bildschirmfoto 2026-01-01 um 10.00.00\u202fPM.png", "é 日本 👩\u200d🔬 %s {} \\ $x$"]
)
def test_what_only_looks_odd_is_shown_as_it_is(capsys, text):
    console.print_text(text)
    assert capsys.readouterr().out == text + "\n"


class Terminal(io.StringIO):
    """A screen that takes text."""

    def isatty(self):
        return True


def test_lines_break_between_words_where_a_terminal_would_inside_them(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = f"validation on 10,000 test images, as published: one-cycle /{'x' * 50} ends"
    for dataset, prefix in (("CIFAR-10", ""), ("SYNTHETIC (not CIFAR-10)", "[SYNTHETIC (not CIFAR-10)] ")):
        monkeypatch.setattr("sys.stdout", screen := Terminal())
        console.set_up_logging()
        console.stdout_log(dataset).info(text)
        lines = screen.getvalue().splitlines()
        assert all(line.startswith(prefix) for line in lines)
        lines = [line.removeprefix(prefix) for line in lines]
        assert " ".join(lines) == text
        assert [line for line in lines if len(prefix + line) > 40 and " " in line] == []


def test_line_of_an_epoch_fits_80_columns():
    row = dict(epoch=10, train_loss=1.653, train_accuracy=0.8, val_loss=1.528, val_accuracy=0.7, seconds=999)
    assert len(console.epoch_line(Config("Q1_19", epochs=15), row, 5 * 3600)) <= 80


def test_bar_that_ends_leaves_the_cursor_at_the_beginning_of_its_line(monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    console.set_up_logging()
    bar = console.progress_bar("", 10)
    bar.update(5)
    bar.refresh()
    bar.close()
    assert "50 % " in screen.getvalue()
    assert screen.getvalue().endswith("\r")
