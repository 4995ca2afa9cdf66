"""Files that are written at once or not at all, and those of one kind in a folder."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from vrn_lite.files import atomically, files_in, sweep
from vrn_lite.frame import InputError


@pytest.mark.parametrize("write", [lambda part: torch.save({}, part / "x"), lambda part: save_file({}, part / "x")])
def test_a_failing_writer_leaves_the_old_file(tmp_path, write):
    path = tmp_path / "kept"
    path.write_text("old")
    with pytest.raises(InputError, match="cannot write .*kept: "):
        atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_sweep_takes_what_the_dead_have_left(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"checkpoint.pt.{dead.pid}.part", f"checkpoint.pt.{os.getpid()}.part", "mine.part", "checkpoint.pt"]
    for name in names:
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names[1 if os.name == "posix" else 0 :])
    sweep(tmp_path / "missing")


def test_files_in_the_folder_itself_come_before_those_further_down(tmp_path):
    for name in ("b.PLY", "a.ply", "deep/c.ply", "deep/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in files_in(tmp_path, (".ply",), "scans")] == ["a.ply", "b.PLY"]
    assert [path.name for path in files_in(tmp_path, (".txt",), "notes")] == ["d.txt"]
    with pytest.raises(InputError, match=r"no meshes \(.obj\) in"):
        files_in(tmp_path, (".obj",), "meshes")
