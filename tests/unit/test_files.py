"""Files that are written whole or not at all."""

import os
import sys
from pathlib import Path

import pytest

from runner import files, records
from runner.errors import RunnerError


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


@pytest.mark.skipif(sys.platform == "win32", reason="makes links and pipes")
def test_what_takes_a_files_place_after_the_check_is_not_followed(tmp_path, monkeypatch):
    victim, link, pipe = (tmp_path / name for name in ("victim", "link", "pipe"))
    victim.write_bytes(b"notes")
    link.symlink_to(victim)
    os.mkfifo(pipe)
    monkeypatch.setattr(files, "check_regular", lambda path, most: None)
    with pytest.raises(OSError, match="link"):
        files.read_file(link)
    with pytest.raises(RunnerError):
        files.open_log(link)
    assert files.read_file(pipe) == b""  # nobody writes into it, and nothing waits for that


@pytest.mark.skipif(sys.platform == "win32", reason="makes a link")
def test_file_is_not_written_through_a_link_at_its_temporary_name(tmp_path, monkeypatch):
    assert files._temporary_name(tmp_path / "file") != files._temporary_name(tmp_path / "file")
    (tmp_path / "victim").write_bytes(b"notes")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    monkeypatch.setattr(files, "_temporary_name", lambda path: tmp_path / "link")
    with pytest.raises(OSError, match="can't be written"):
        files.write_file(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_bytes() == b"notes"


def test_name_that_is_not_utf8_is_read_from_json_as_it_was(tmp_path):
    content = {"folder": os.fsdecode("Jürgen → ".encode() + b"\xff"), "backslash": "\\udcff"}
    files.write_json(tmp_path / "file.json", content)
    assert "Jürgen → " in (tmp_path / "file.json").read_bytes().decode()
    assert files.read_json(tmp_path / "file.json") == content


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
def test_number_that_json_does_not_know_is_refused(tmp_path, number):
    (tmp_path / "file.json").write_text(f'{{"number": [{number}]}}', encoding="utf-8")
    with pytest.raises(RunnerError, match=r"file\.json can't be read: .* is not a finite number"):
        files.read_json(tmp_path / "file.json")


def test_history_with_columns_that_earlier_epochs_lack_is_written(tmp_path):
    files.write_history(tmp_path, "data", [{"epoch": 1}, {"epoch": 2, "more": 0.5}])
    assert (tmp_path / "history.csv").read_text(encoding="utf-8") == "dataset,epoch,more\ndata,1,\ndata,2,0.5\n"


def history_text(columns, rows):
    """The text of a history that is right but for ``columns`` more."""
    names = sorted(files.HISTORY_COLUMNS - {"epoch"})
    header = ["epoch", *names, *(f"val_accuracy_of_{number}" for number in range(columns))]
    lines = (",".join([str(epoch), *["0"] * (len(header) - 1)]) for epoch in range(1, rows + 1))
    return "\n".join([",".join(header), *lines])


def test_history_of_too_many_values_is_refused_where_they_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_VALUES", 1000)
    (tmp_path / "history.csv").write_text(history_text(columns=100, rows=9), encoding="utf-8")
    assert len(records.read_history(tmp_path)) == 9
    checked, check = [], records.check_row
    monkeypatch.setattr(records, "check_row", lambda row, epoch: (checked.append(epoch), check(row, epoch)))
    (tmp_path / "history.csv").write_text(history_text(columns=100, rows=1000), encoding="utf-8")
    with pytest.raises(RunnerError, match=r"history\.csv holds more than 1,000 values"):
        records.read_history(tmp_path)
    assert len(checked) == 9


def test_history_is_not_read_on_after_an_epoch_that_can_not_follow(tmp_path, monkeypatch):
    text = history_text(columns=1, rows=100).replace("\n3,", "\n7,")
    (tmp_path / "history.csv").write_text(text, encoding="utf-8")
    checked, check = [], records.check_row
    monkeypatch.setattr(records, "check_row", lambda row, epoch: (checked.append(epoch), check(row, epoch)))
    with pytest.raises(RunnerError, match="one epoch after the other: 7 where 3 should be"):
        records.read_history(tmp_path)
    assert checked == [1, 2, 3]
