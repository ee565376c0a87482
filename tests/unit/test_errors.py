"""Errors, as they are told."""

from runner import errors


def test_one_line_has_no_breaks_and_no_escapes():
    assert errors.one_line(errors.RunnerError("a\nb\x1b[1mc")) == "a?b?[1mc"
    assert errors.one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert errors.one_line(OSError(28, "full", "a\tb")) == "a?b: full"
