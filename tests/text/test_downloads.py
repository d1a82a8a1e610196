"""``data get``: the text that was meant, whole, or nothing."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from charrnn.errors import ConfigError, DownloadError
from charrnn.text import downloads
from charrnn.text.downloads import KnownCorpus, fetch
from tests.support.command_line import leave

TEXT = b"All happy families are alike.\r\n" * 5000
SHA256 = hashlib.sha256(TEXT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves TEXT in several states of repair; counts what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        bodies = {
            "/good": TEXT,
            "/wrong": TEXT.replace(b"happy", b"HAPPY"),
            "/short": TEXT[:-1],
            "/cut": TEXT,
            "/garbled": b"",
            "/long": TEXT * 50,
        }
        if self.path not in bodies:
            self.send_error(404)
            return
        body = bodies[self.path]
        if self.path == "/garbled":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.handle_error = lambda *_args: None  # type: ignore[method-assign]
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def known(url: str) -> dict[str, KnownCorpus]:
    return {"novel": KnownCorpus(url, "novel.txt", len(TEXT), SHA256)}


def test_the_right_text_is_kept_and_not_fetched_again(server: str) -> None:
    for _ in range(2):
        path = fetch("novel", Path("data"), known(f"{server}/good"))
        assert path == Path("data/novel.txt")
        assert path.read_bytes() == TEXT
    assert Handler.asked == ["/good"]


@pytest.mark.parametrize("place", ["wrong", "short", "cut", "long", "garbled", "missing"])
def test_of_anything_else_nothing_is_kept(server: str, place: str) -> None:
    with pytest.raises(DownloadError, match=f"{server}/{place}") as caught:
        fetch("novel", Path("data"), known(f"{server}/{place}"))
    assert "\n" not in str(caught.value)
    assert not Path("data").exists() or list(Path("data").iterdir()) == []


def test_a_failed_download_leaves_the_old_file(server: str) -> None:
    Path("data").mkdir()
    Path("data/novel.txt").write_bytes(b"mine, edited")
    with pytest.raises(DownloadError):
        fetch("novel", Path("data"), known(f"{server}/wrong"))
    assert Path("data/novel.txt").read_bytes() == b"mine, edited"


def test_a_server_that_is_not_there_is_said_in_one_line(server: str) -> None:
    with pytest.raises(DownloadError, match=r"could not download http://127\.0\.0\.1:1/x"):
        fetch("novel", Path("data"), known("http://127.0.0.1:1/x"))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="only war-and-peace, tinyshakespeare"):
        fetch("nonsense", Path("data"))


def known_as_a_real_one(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The command takes no other names."""
    monkeypatch.setitem(downloads.KNOWN, "war-and-peace", known(url)["novel"])


def test_the_command_prints_the_path_alone(
    server: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    known_as_a_real_one(monkeypatch, f"{server}/good")
    args = ["data", "get", "war-and-peace", "--out", "texts"]
    assert leave(args, capfd) == (0, "texts/novel.txt\n", "")


def test_the_command_fails_with_one_line(
    server: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    known_as_a_real_one(monkeypatch, f"{server}/wrong")
    code, out, err = leave(["data", "get", "war-and-peace"], capfd)
    assert (code, out) == (1, "")
    assert err.startswith("charrnn: ")
    assert err.count("\n") == 1


def test_known_corpora_are_whole_entries() -> None:
    for corpus in downloads.KNOWN.values():
        assert corpus.url.startswith("https://")
        assert len(corpus.sha256) == 64
        assert Path(corpus.file).name == corpus.file
