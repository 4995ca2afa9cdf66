"""Downloads against a local server: known by their sums, whole or not at all, one process at a time."""

import hashlib
import logging
import threading
import time

import numpy as np
import pooch
import pytest

from serving import serving
from vrn_lite.downloads import Download, download, fetch_once, locked
from vrn_lite.frame import InputError

CONTENT = b"0123456789" * 1000


def known(url, **files):
    """A source of files whose sums are known; no second try, so that errors come at once."""
    sums = {f"{name}.bin": hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return Download(url, sums, "vrn-lite fetch it", retries=0)


@pytest.fixture
def server():
    with serving({"one.bin": CONTENT}) as server:
        yield server


def test_file_arrives_as_it_is_and_alone(tmp_path, server):
    (path,) = download(known(server.url, one=CONTENT), ["one.bin"], tmp_path)
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["one.bin"]


def test_known_file_is_not_asked_for_again(tmp_path, server):
    for _ in range(2):
        download(known(server.url, one=CONTENT), ["one.bin"], tmp_path)
    assert server.log == ["one.bin"]


def test_changed_file_is_asked_for_again(tmp_path, server):
    (tmp_path / "one.bin").write_bytes(CONTENT[:-1])
    (path,) = download(known(server.url, one=CONTENT), ["one.bin"], tmp_path)
    assert path.read_bytes() == CONTENT


def test_file_may_lie_at_another_address_under_another_name(tmp_path, server):
    source = Download("http://127.0.0.1:9/", {"folder/two.bin": None}, "it", {"folder/two.bin": f"{server.url}one.bin"}, 0)
    assert download(source, ["folder/two.bin"], tmp_path) == [tmp_path / "folder" / "two.bin"]


@pytest.mark.parametrize("content", [b"<!doctype html>", CONTENT[:4000], b""])
def test_unknown_file_is_refused_and_removed(tmp_path, server, content):
    server.files["one.bin"] = content
    with pytest.raises(InputError, match=r"one.bin is not the known file .*removed: run `vrn-lite fetch it` again$"):
        download(known(server.url, one=CONTENT), ["one.bin"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cut_connection_leaves_nothing(tmp_path, server):
    server.cut = 4000
    with pytest.raises(InputError, match="run `vrn-lite fetch it` again"):
        download(known(server.url, one=CONTENT), ["one.bin"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_second_try_mends_a_cut_connection(tmp_path, server, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: setattr(server, "cut", None))
    server.cut = 4000
    source = Download(server.url, {"one.bin": hashlib.sha256(CONTENT).hexdigest()}, "it", retries=1)
    assert download(source, ["one.bin"], tmp_path)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 503])
def test_refusal_of_the_server_is_one_line(tmp_path, server, status):
    server.status = status
    with pytest.raises(InputError, match=rf"one.bin answers {status} [^\n]*$"):
        download(known(server.url, one=CONTENT), ["one.bin"], tmp_path)


def test_no_server_is_one_line(tmp_path):
    with serving({}) as server:
        source = known(server.url, one=CONTENT)
    with pytest.raises(InputError, match=r"broke off [^\n]*$"):
        download(source, ["one.bin"], tmp_path)


def test_nothing_is_said_and_the_log_stays_as_it_was(tmp_path, server, capsys):
    level = pooch.get_logger().level
    download(known(server.url, one=CONTENT), ["one.bin"], tmp_path, progress="files")
    assert capsys.readouterr() == ("", "")
    assert pooch.get_logger().level == level != logging.ERROR


def test_two_at_once_take_turns(tmp_path, server):
    order = []

    def fetch(name):
        with locked(tmp_path):
            order.append(name)
            download(known(server.url, one=CONTENT), ["one.bin"], tmp_path / "files")
            time.sleep(0.05)
            order.append(name)

    threads = [threading.Thread(target=fetch, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order in (["a", "a", "b", "b"], ["b", "b", "a", "a"])
    assert server.log == ["one.bin"]


def test_sources_are_converted_once_and_removed(tmp_path, server):
    def convert(folder):
        return {"size": np.array((folder / "one.bin").stat().st_size)}

    for _ in range(2):
        target = fetch_once(tmp_path / "made.npz", known(server.url, one=CONTENT), convert)
    with np.load(target) as made:
        assert int(made["size"]) == len(CONTENT)
    assert server.log == ["one.bin"]
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["made.npz"]


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write in"), locked(tmp_path / "file"):
        pass
