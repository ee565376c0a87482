"""Errors, as they are told."""

import config


def test_one_line_has_no_breaks_and_no_escapes():
    assert config.one_line(config.RunnerError("a\nb\x1b[1mc")) == "a?b?[1mc"
    assert config.one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert config.one_line(OSError(28, "full", "a\tb")) == "a?b: full"
