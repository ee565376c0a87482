"""The download of the official archive, from servers here."""

import contextlib
import http.server
import io
import re
import sys
import threading
import time

import pytest

import datasets
from datasets import cifar10, download, forms, synthetic
from datasets.download import DownloadError
from runner.config import Config
from runner.errors import UsageError
from tests.helpers.compare import assert_holds
from tests.helpers.images import listening, load_images


class Source(http.server.BaseHTTPRequestHandler):
    """Serves ``content``, or goes to ``moved``; breaks off after ``most`` bytes, and answers ranges if ``ranges``.

    After ``burst`` bytes it sends only ``rate`` bytes a second, ``later_rate`` when it is asked again.
    """

    content, most, ranges, errors = b"", None, True, 0
    kind, tells_length, moved = "application/gzip", True, ""
    rate, later_rate, burst = 0, 0, 0
    asked: list = []

    def do_GET(self):
        asked = self.headers.get("Range")
        type(self).asked.append(asked)
        if type(self).errors:
            type(self).errors -= 1
            return self.send_error(503)
        if self.path != "/cifar.tar.gz":
            return self.send_error(404)
        start = int(asked[6:-1]) if asked and self.ranges else 0
        if asked and start >= len(self.content):
            return self.send_error(416)
        body = b"" if self.moved else self.content[start:]
        self.send_response(302 if self.moved else 206 if asked and self.ranges else 200)
        self.send_header("Content-Type", self.kind)
        if self.moved:
            self.send_header("Location", self.moved)
        if self.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.send(body[: self.most])

    def send(self, body):
        quick = self.burst if self.rate else len(body)
        self.wfile.write(body[:quick])
        step = self.rate // 50
        type(self).rate = self.later_rate or self.rate
        for at in range(quick, len(body), step or 1):
            self.wfile.write(body[at : at + step])
            threading.Event().wait(0.02)

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def no_known_sources(monkeypatch):
    """Those that a test names are all, and a retry does not wait."""
    monkeypatch.setattr(cifar10, "SOURCES", ())
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.fixture
def serve(tiny_archive):
    """Starts a web server that has the tiny archive; returns its address and its handler class."""
    with contextlib.ExitStack() as servers:

        def start(**options):
            options = {"content": tiny_archive.read_bytes(), "asked": []} | options
            handler = type("Handler", (Source,), options)
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            servers.callback(server.server_close)
            servers.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            return f"http://127.0.0.1:{server.server_port}/cifar.tar.gz", handler

        yield start


@pytest.fixture
def source(serve):
    return serve()


@pytest.fixture
def empty(tmp_path):
    """A data folder that nothing is in yet."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_download_asks_named_source_once(source, tiny_official, empty):
    url, handler = source
    for _ in range(2):
        assert_holds(load_images("auto", empty, url), *tiny_official[1:])
    assert handler.asked == [None]


@pytest.mark.parametrize("dataset", ["auto", "cifar10"])
def test_given_folder_that_is_not_there_is_refused_before_anything(source, tmp_path, dataset):
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"--data-dir .*new/data does not exist: make it \(mkdir\)"):
        load_images(dataset, tmp_path / "new" / "data", source[0])
    assert set(tmp_path.rglob("*")) == before
    assert not source[1].asked


def test_default_folder_is_made_and_synthetic_needs_none(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not load_images("synthetic", "nowhere").is_cifar10
    assert len(load_images("cifar10", "data", source[0]).train) == 50
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ("train-00000.parquet", "train-00000.parquet"),
        ("plain_text/train.parquet", "plain_text/train.parquet"),
        ("cifar-10-batches-bin/data_batch_1.bin", "cifar-10-batches-bin/data_batch_1.bin"),
        ("CIFAR-10-C/fog.npy", "CIFAR-10-C/fog.npy"),
        ("cifar10.npz", "cifar10.npz"),
        ("old/cifar-10-python/cifar-10-batches-py/data_batch_1", "old/cifar-10-python/cifar-10-batches-py"),
        ("cifar/train/cat/1.png", "cifar/train"),
        ("train/cat/1.png", "train"),
        ("cat/1.png", "cat"),
    ],
)
def test_form_that_is_not_read_is_told_before_the_download(source, empty, found, told):
    url, handler = source
    (empty / found).parent.mkdir(parents=True, exist_ok=True)
    (empty / found).write_bytes(b"x")
    (empty / ".cache-folder.npz").write_bytes(b"x")
    warnings = []
    load_images("cifar10", empty, url, notice=lambda text: warnings.append(len(handler.asked)), warn=warnings.append)
    assert warnings[0] == forms.tell_unread(empty / told)
    assert handler.asked == [None]


def test_download_and_archive_need_no_torchvision(source, empty, monkeypatch):
    for name in ("torchvision", "torchvision.datasets", "torchvision.datasets.utils"):
        monkeypatch.setitem(sys.modules, name, None)  # its import raises
    assert len(load_images("cifar10", empty, source[0]).train) == 50


def test_download_by_two_runs_together_is_done_once(source, tmp_path, monkeypatch):
    url, handler = source
    fetch, arrived, told = download._fetch, threading.Event(), []

    def fetch_late(*args):
        arrived.set()
        threading.Event().wait(0.5)
        fetch(*args)

    monkeypatch.setattr(download, "_fetch", fetch_late)
    config = Config("Q1_1", dataset="cifar10", data_dir=str(tmp_path), data_url=url, batch_size=1)
    loads = []
    first = threading.Thread(target=lambda: loads.append(datasets.load(config)))
    with listening(warning=lambda text: told.append(text) if threading.current_thread() is not first else None):
        first.start()
        assert arrived.wait(10)
        loads.append(datasets.load(config))
        first.join()
    assert told[0].startswith("waiting for another run")
    assert handler.asked == [None]
    assert loads[0].digest == loads[1].digest


def test_download_asks_official_source_by_default(source, empty, monkeypatch):
    monkeypatch.setattr(cifar10, "SOURCES", source[:1])
    assert len(load_images("cifar10", empty).train) == 50


@pytest.mark.parametrize("ranges", [True, False])
def test_download_that_breaks_off_goes_on(source, tmp_path, ranges):
    url, handler = source
    handler.most, handler.ranges = len(handler.content) * 2 // 5, ranges
    if not ranges:
        with pytest.raises(DownloadError, match="broke off after"):
            load_images("cifar10", tmp_path, url)
        assert not (tmp_path / cifar10.ARCHIVE).exists()
        handler.most = None
    assert len(load_images("cifar10", tmp_path, url).train) == 50
    if ranges:
        assert handler.asked == [None, f"bytes={handler.most}-", f"bytes={2 * handler.most}-"]
    assert not list(tmp_path.glob("*.part"))


def test_download_goes_on_with_part_of_earlier_run(source, tmp_path):
    url, handler = source
    (tmp_path / f"{cifar10.ARCHIVE}.part").write_bytes(handler.content[:1000])
    load_images("cifar10", tmp_path, url)
    assert handler.asked == ["bytes=1000-"]


def test_download_of_complete_part_needs_a_question_only(source, tmp_path):
    url, handler = source
    (tmp_path / f"{cifar10.ARCHIVE}.part").write_bytes(handler.content)
    assert len(load_images("cifar10", tmp_path, url).train) == 50


def test_download_throws_away_part_of_something_else(source, tmp_path):
    url, handler = source
    (tmp_path / f"{cifar10.ARCHIVE}.part").write_bytes(b"x" * 1000)
    load_images("cifar10", tmp_path, url)
    assert handler.asked == ["bytes=1000-", None]


def test_download_asks_busy_source_again(source, tmp_path):
    url, handler = source
    handler.errors = 2
    assert len(load_images("cifar10", tmp_path, url).train) == 50


def test_download_to_full_disk_is_not_tried_again(source, tmp_path, monkeypatch):
    def full(*args):
        tries.append(args)
        raise OSError(28, "No space left on device")

    tries = []
    monkeypatch.setattr(cifar10, "SOURCES", ("http://127.0.0.1:9/other",))
    monkeypatch.setattr(download, "_fetch", full)
    with pytest.raises(DownloadError, match="No space left on device"):
        load_images("cifar10", tmp_path, source[0])
    assert len(tries) == 1


def test_download_of_other_content_is_refused_and_not_kept(source, tmp_path):
    url, handler = source
    handler.content = handler.content[:-1] + b"?"
    with pytest.raises(DownloadError, match="what came has MD5 .*--data-url"):
        load_images("cifar10", tmp_path, url)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("cifar")] == []


@pytest.mark.parametrize(
    "url", ["{url}/nowhere", "http://127.0.0.1:9/x", "nonsense", "http://a b/", "file:///does/not/exist"]
)
def test_download_without_source_fails_or_leaves_synthetic(source, small_synthetic, empty, url):
    url = url.format(url=source[0])
    with pytest.raises(DownloadError, match="--dataset synthetic"):
        load_images("cifar10", empty, url)
    assert len(source[1].asked) <= 1
    told = []
    assert not load_images("auto", empty, url, warn=told.append).is_cifar10
    assert "could not be downloaded" in told[0]
    assert told[1:] == synthetic.NOTICE.splitlines()


class Endless(http.server.BaseHTTPRequestHandler):
    """Sends ``start``, then ``block`` for as long as anybody listens, waiting ``seconds`` between two."""

    start, block, seconds = b"", b"", 0.0

    def do_GET(self):
        with contextlib.suppress(OSError):
            self.wfile.write(self.start)
            while self.block:
                self.wfile.write(self.block)
                threading.Event().wait(self.seconds)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(**answer):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Endless,), answer))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.socket.close()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (OK + b"\r\n", "what came has MD5"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", "what came has MD5"),
        (OK + b"Content-Length: 10737418240\r\n\r\n", "it would send 10,737,418,240 bytes, the official archive has 1"),
    ],
)
def test_download_of_more_than_the_archive_is_refused_and_not_kept(empty, monkeypatch, start, said):
    monkeypatch.setattr(cifar10, "ARCHIVE_BYTES", 1_000_000)
    block = b"1000\r\n" + b"x" * 4096 + b"\r\n" if b"chunked" in start else b"x" * 65536
    with serving(start=start, block=block) as url, pytest.raises(DownloadError, match=said):
        load_images("cifar10", empty, url)
    assert not list(empty.glob("cifar*"))


def test_part_that_is_too_long_is_thrown_away(source, empty, monkeypatch):
    url, handler = source
    handler.ranges = False
    (empty / f"{cifar10.ARCHIVE}.part").write_bytes(b"x" * 2 * len(handler.content))
    assert len(load_images("cifar10", empty, url).train) == 50
    assert not list(empty.glob("*.part"))


@pytest.mark.parametrize(
    ("start", "block"),
    [
        (OK + b"Content-Length: 1000000\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),  # in the line that tells a chunk's size
        (OK + b"X-Slow: ", b"x"),
        (b"", b"H"),
    ],
    ids=["body", "chunk", "header", "status"],
)
def test_source_that_trickles_is_left(empty, monkeypatch, start, block):
    monkeypatch.setattr(download, "WINDOW", 0.3)
    monkeypatch.setattr(cifar10, "ARCHIVE_BYTES", 1_000_000)
    said = []
    with (
        serving(start=start, block=block, seconds=0.05) as url,
        pytest.raises(DownloadError, match="kB/s came for 0.3 s, less than 10;"),
    ):
        load_images("cifar10", empty, url, notice=said.append)
    assert sum("next is asked" in text for text in said) == download.RETRIES


def test_no_thread_goes_on_with_an_answer_that_has_no_end(empty, monkeypatch):
    """It would take a core from the training on generated images that follows."""
    monkeypatch.setattr(download, "WINDOW", 0.3)
    monkeypatch.setattr(download, "RETRIES", 0)
    more = b"HTTP/1.1 100 Continue\r\n\r\n"
    before = set(threading.enumerate())
    with serving(start=more, block=more, seconds=0.01) as url:
        with pytest.raises(DownloadError, match="0 kB/s came for 0.3 s"):
            load_images("cifar10", empty, url)
        left = [thread for thread in set(threading.enumerate()) - before if "(read)" in thread.name]
        for thread in left:
            thread.join(10)
        assert not any(thread.is_alive() for thread in left)


def test_link_in_the_place_of_the_part_is_not_written_through(source, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "victim").write_text("notes", encoding="utf-8")
    (tmp_path / "data" / f"{cifar10.ARCHIVE}.part").symlink_to(tmp_path / "victim")
    assert len(load_images("cifar10", tmp_path / "data", source[0]).train) == 50
    assert (tmp_path / "victim").read_text(encoding="utf-8") == "notes"


def test_part_that_is_all_of_something_else_is_thrown_away(source, empty):
    url, handler = source
    (empty / f"{cifar10.ARCHIVE}.part").write_bytes(b"x" * len(handler.content))
    assert len(load_images("cifar10", empty, url).train) == 50
    assert handler.asked == [None]


# ---- several sources ------------------------------------------------------------------------------------------------


@pytest.fixture
def load(empty, monkeypatch):
    """Loads the images, from sources in this order; returns them and what was said of the download."""
    monkeypatch.setattr(download, "TRIAL", 0.3)
    monkeypatch.setattr(download, "ENOUGH", 300_000)

    def load_from(*sources, own=""):
        monkeypatch.setattr(cifar10, "SOURCES", tuple(url for url, _ in sources))
        said = []
        images = load_images("cifar10", empty, own, notice=said.append)
        assert not list(empty.glob("*.part"))
        return images, [text for text in said if not text.startswith("reading")]

    return load_from


def test_download_begins_with_one_line_that_says_how_to_do_without(serve, load, empty):
    own, known = serve(), serve()
    _, said = load(known, own=own[0])
    (line,) = said
    assert f"--dataset synthetic begins at once, or put it into {empty} yourself, as {cifar10.ARCHIVE}, " in line
    assert f"Hugging Face's Parquet files or another form (docs/usage.md); asking {own[0]}" in line
    assert (own[1].asked, known[1].asked) == ([None], [])


def test_bar_tells_rate_and_time_left(serve, load, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    load(serve(rate=400_000))
    assert re.search(r"[1-9]\d*%\|.*\[\d\d:\d\d<\d\d:\d\d, *[\d.]+[kM]B/s\]", terminal.getvalue())


def test_slow_source_is_left_for_the_next_which_goes_on(serve, load, tiny_official):
    slow, fast = serve(rate=50_000), serve()
    images, said = load(slow, fast)
    assert_holds(images, *tiny_official[1:])
    assert re.fullmatch(rf"{slow[0]}: \d+ kB/s came for 0.3 s, less than 300; next is asked {fast[0]}", said[1])
    assert len(said) == 2
    assert slow[1].asked == [None]
    (asked,) = fast[1].asked
    assert int(asked[len("bytes=") : -1]) > 0


def test_source_that_slows_down_later_is_left(serve, load):
    throttling, fast = serve(rate=20_000, burst=120_000), serve()
    _, said = load(throttling, fast)
    assert "less than 300; next is asked" in said[1]
    assert int(fast[1].asked[0][len("bytes=") : -1]) >= 120_000


def test_where_all_are_slow_the_fastest_is_used_to_the_end(serve, load):
    slow = serve(rate=40_000), serve(rate=160_000), serve(rate=40_000)
    _, said = load(*slow)
    assert [len(handler.asked) for _, handler in slow] == [1, 2, 1]
    begins = [int(asked[len("bytes=") : -1]) for _, handler in slow for asked in handler.asked[-1:] if asked]
    assert 0 < begins[1] < begins[0]
    assert [text.rpartition(" ")[2] for text in said] == [slow[i][0] for i in (0, 1, 2, 1)]


def test_fastest_source_is_used_to_the_end_though_it_slows_down(serve, load):
    fastest, other = serve(rate=200_000, later_rate=90_000), serve(rate=150_000)
    load(fastest, other)
    assert [len(handler.asked) for _, handler in (fastest, other)] == [2, 1]


def test_slow_source_that_is_alone_is_used_to_the_end(serve, load):
    slow = serve(rate=200_000)
    load(slow, own=slow[0])
    assert slow[1].asked == [None]


def test_source_that_does_not_answer_is_left(serve, load):
    fast = serve()
    with serving(block=b"H", seconds=0.05) as silent:
        _, said = load((silent, None), fast)
    assert said[1].startswith(f"{silent}: 0 kB/s came for 0.3 s")
    assert fast[1].asked == [None]


@pytest.mark.parametrize(
    "trouble",
    [
        {"errors": 1},
        {"content": b"x" * 100},
        {"content": b"<html></html>", "kind": "text/html; charset=utf-8", "ranges": False},
        {"content": b"<html></html>", "kind": "text/html", "ranges": False, "tells_length": False},
        {"most": 500, "ranges": False},
        {"most": 0},
    ],
    ids=["busy", "other length", "page", "page of any length", "no ranges, and breaks off", "nothing"],
)
def test_what_is_there_is_kept_where_the_next_source_fails(serve, load, tiny_official, trouble):
    breaking, failing, good = serve(most=70_000), serve(**trouble), serve()
    images, said = load(breaking, failing, good)
    assert_holds(images, *tiny_official[1:])
    assert good[1].asked == ["bytes=70000-"]
    assert f"{breaking[0]}: the connection broke off after 70,000 of " in said[1]
    assert said[2].startswith(f"{failing[0]}: ")
    assert len(said) == 3


def test_source_that_knows_no_ranges_sends_all(serve, load, tiny_official):
    breaking, other = serve(most=70_000), serve(ranges=False)
    images, _ = load(breaking, other)
    assert_holds(images, *tiny_official[1:])
    assert other[1].asked == ["bytes=70000-"]


def test_redirection_is_followed_with_the_range(serve, load):
    goal = serve()
    load(serve(most=70_000), serve(moved=goal[0]))
    assert goal[1].asked == ["bytes=70000-"]


def flipped(source, at):
    content = bytearray(source[1].content)
    content[at] ^= 1
    return bytes(content)


def test_source_with_a_wrong_byte_is_named_and_the_next_sends_all(serve, load, tiny_official):
    good = serve()
    wrong = serve(content=flipped(good, 1000))
    images, said = load(wrong, good)
    assert_holds(images, *tiny_official[1:])
    assert said[1].startswith(f"{wrong[0]}: what came has MD5 ")
    assert (wrong[1].asked, good[1].asked) == ([None], [None])


def test_first_of_two_senders_may_be_the_wrong_one(serve, load, tiny_official):
    good = serve()
    slow = serve(rate=50_000, content=flipped(good, 0))
    images, said = load(slow, good)
    assert_holds(images, *tiny_official[1:])
    assert re.search(rf"{good[0]}: what came has MD5 .*, and came in part from {slow[0]}; next is asked", said[2])
    assert slow[1].asked == [None]
    assert [bool(asked) for asked in good[1].asked] == [True, False]


def test_after_a_wrong_byte_of_several_each_sends_all(serve, load, tiny_official):
    """Of the three the second is wrong; the third is slow, and what it sent may not hide who is."""
    first, third = serve(rate=200_000), serve(rate=160_000)
    wrong = serve(content=flipped(first, -1))
    images, said = load(first, wrong, third)
    assert_holds(images, *tiny_official[1:])
    assert [bool(asked) for asked in wrong[1].asked] == [True, False]
    assert (first[1].asked, third[1].asked) == ([None, None], [None])
    assert f"came in part from {first[0]}; next is asked {third[0]}" in said[2]
    assert "in part" not in said[4]


def test_source_that_sent_all_over_again_is_the_wrong_one(serve, load, tiny_official):
    breaking, good = serve(most=70_000), serve()
    wrong = serve(content=flipped(good, -1), ranges=False)
    images, said = load(breaking, wrong, good)
    assert_holds(images, *tiny_official[1:])
    assert re.match(rf"{wrong[0]}: what came has MD5 \w+, not \w+; next is asked {good[0]}", said[2])
    assert [len(handler.asked) for _, handler in (breaking, wrong, good)] == [1, 1, 1]


def test_wrong_part_of_an_earlier_run_is_not_blamed_on_a_source(serve, load, empty):
    (empty / f"{cifar10.ARCHIVE}.part").write_bytes(b"x" * 1000)
    source = serve()
    _, said = load(source)
    assert "came in part from an earlier run" in said[1]
    assert source[1].asked == ["bytes=1000-", None]


def test_failure_names_every_source_and_an_equal_reason_once(serve, load, empty):
    good, moved = serve(), "http://127.0.0.1:9/a"
    wrong, page = serve(content=flipped(good, 5)), serve(content=b"<p>", kind="text/html")
    with pytest.raises(DownloadError) as error:
        load(wrong, (moved, None), page, ("http://127.0.0.1:9/b", None))
    said = str(error.value)
    assert f"{wrong[0]}: what came has MD5 " in said
    assert re.search(r"http://127.0.0.1:9/a, http://127.0.0.1:9/b: [^;]*refused; ", said)
    assert f"{page[0]}: it sends a page, not the archive; put it into {empty} yourself, as {forms.FORMS}; or " in said
    assert said.endswith("--dataset synthetic needs no download")
    assert not list(empty.glob("cifar*"))


def test_sources_that_fail_are_not_asked_without_end(serve, load):
    busy = [serve(errors=99) for _ in range(3)]
    with pytest.raises(DownloadError, match="Service Unavailable"):
        load(*busy)
    assert sum(len(handler.asked) for _, handler in busy) == len(busy) + download.RETRIES


def test_fast_source_that_breaks_off_is_preferred_to_slow_ones(serve, load):
    breaking, slow = serve(most=70_000), serve(rate=20_000)
    load(breaking, slow)
    assert breaking[1].asked[0] is None
    assert len(breaking[1].asked) > 1
    assert len(slow[1].asked) == 1
