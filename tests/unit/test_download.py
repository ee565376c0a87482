"""The download of the official archive, from a server here."""

import contextlib
import http.server
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
    """Serves ``content``; breaks off after ``most`` bytes, and answers ranges unless ``ranges`` is off."""

    content, most, ranges, errors = b"", None, True, 0
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
        body = self.content[start:]
        self.send_response(206 if asked and self.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.most])

    def log_message(self, *args):
        pass


@pytest.fixture
def source(tiny_archive, monkeypatch):
    """A web server that has the tiny archive, and its handler class."""
    handler = type("Handler", (Source,), {"content": tiny_archive.read_bytes(), "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield f"http://127.0.0.1:{server.server_port}/cifar.tar.gz", handler
    server.shutdown()
    server.server_close()


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
    monkeypatch.setattr(cifar10, "URL", source[0])
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
    def full(url, part):
        tries.append(part)
        raise OSError(28, "No space left on device")

    tries = []
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
        (OK + b"\r\n", "it sends .* bytes or more, the official archive has 1,000,000"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", "it sends"),
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
    monkeypatch.setattr(cifar10, "ARCHIVE_BYTES", len(handler.content))
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
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    said = []
    with (
        serving(start=start, block=block, seconds=0.05) as url,
        pytest.raises(DownloadError, match="less than 10,000 bytes a second"),
    ):
        load_images("cifar10", empty, url, notice=said.append)
    assert sum("follows" in text for text in said) == download.ATTEMPTS - 1


def test_no_thread_goes_on_with_an_answer_that_has_no_end(empty, monkeypatch):
    """It would take a core from the training on generated images that follows."""
    monkeypatch.setattr(download, "WINDOW", 0.3)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    more = b"HTTP/1.1 100 Continue\r\n\r\n"
    before = set(threading.enumerate())
    with serving(start=more, block=more, seconds=0.01) as url:
        with pytest.raises(DownloadError, match="less than 10,000 bytes a second"):
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
