"""Files that are written whole or not at all."""

import os
from pathlib import Path

from runner import files


def test_write_file_reaches_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    path, events = tmp_path / "file", []
    path.write_text("old", encoding="utf-8")
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(number):
        events.append(("fsync", os.fstat(number).st_size))
        fsync(number)

    def watched_replace(source, target):
        events.append((source.name, target.name))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    files.write_file(path, "new text", previous=tmp_path / "before")
    temporary = events[2][0]
    assert events[:3] == [("fsync", 8), ("file", "before"), (temporary, "file")]
    assert temporary.endswith(".part")
    assert events[3][0] == "fsync"  # of the folder: its new names too
    assert path.read_text(encoding="utf-8") == "new text"
    assert (tmp_path / "before").read_text(encoding="utf-8") == "old"


def test_name_that_is_not_utf8_is_read_from_json_as_it_was(tmp_path):
    content = {"folder": os.fsdecode("Jürgen → ".encode() + b"\xff"), "backslash": "\\udcff"}
    files.write_json(tmp_path / "file.json", content)
    assert "Jürgen → " in (tmp_path / "file.json").read_bytes().decode()
    assert files.read_json(tmp_path / "file.json") == content
