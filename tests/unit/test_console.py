"""What is said on the screen."""

import io

import pytest

from runner import console


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "6→8 é × \\udcff"), ("cp1252", "6\\u21928 é × \\udcff"), ("ascii", "6\\u21928 \\xe9 \\xd7 \\udcff")],
)
def test_only_what_a_stream_can_not_show_is_escaped(monkeypatch, encoding, shown):
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", screen)
    console.print_text("6→8 é × \udcff")
    assert screen.buffer.getvalue().decode(encoding).splitlines() == [shown]
