"""After installation nothing needs a network: a process and a notebook's kernel work with every way out closed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

ROOT = Path(__file__).parents[1]
NOTEBOOKS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if path.stem[:2] in ("00", "10")]

CLOSED = """
import socket

def refuse(*address):
    raise OSError(f"the network is closed: {address[-1]}")

def connect(self, address, _connect=socket.socket.connect):
    stays = self.family not in (socket.AF_INET, socket.AF_INET6) or address[0] in ("127.0.0.1", "::1")  # on this machine
    return _connect(self, address) if stays else refuse(address)

socket.socket.connect = socket.socket.connect_ex = connect
socket.socket.sendto = lambda self, *message: refuse(message[-1])
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
"""
"""Python runs a `sitecustomize` on its path first of all. A kernel is reached through ZeroMQ, which does not use these."""

WORK = """
import skimage.data
import torch

import vrn_lite as vrn

face = vrn.reconstruct(skimage.data.astronaut())
assert len(face.mesh.vertices) > 10_000

source, network = vrn.faces.procedural(), vrn.VRN("tiny")
(record,) = vrn.train(network, source, samples=8, batch=8, seed=0)
assert record.samples == 8

scores = vrn.evaluate(network.eval(), vrn.heldout(source, 2), bounds=False, test_time_augmentation=False)
assert len(scores.frame) == 2
print("done")
"""


@pytest.fixture
def closed(tmp_path):
    """The environment of a process that reaches nothing."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "sitecustomize.py").write_text(CLOSED)
    paths = filter(None, (str(tmp_path / "closed"), os.environ.get("PYTHONPATH")))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "VRN_LITE_PROFILE": "ci"}


def alone():
    """A command before another, which takes the network itself away; empty where the system does not permit it."""
    command = [shutil.which("unshare") or "", "--map-root-user", "--net"]
    return command if command[0] and subprocess.run([*command, "true"], capture_output=True).returncode == 0 else []


def python(code, environment, *before):
    return subprocess.run([*before, sys.executable, "-c", code], env=environment, capture_output=True, text=True)


REACHING = {
    "connect": "import socket; socket.socket().connect(('192.0.2.1', 80))",
    "a name": "import socket; socket.getaddrinfo('example.org', 443)",
    "urllib": "import urllib.request; urllib.request.urlopen('https://example.org', timeout=5)",
    "datagrams": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
}


@pytest.mark.parametrize("way", REACHING)
def test_every_way_out_is_closed(way, closed):
    done = python(REACHING[way], closed)
    assert done.returncode == 1
    assert "the network is closed" in done.stderr


def test_the_command_that_takes_the_network_away_does():
    if not alone():
        pytest.skip("this system does not let its users have a network of their own (unshare)")
    done = python(REACHING["connect"], os.environ, *alone())
    assert "Network is unreachable" in done.stderr


def test_reconstruction_training_and_evaluation_need_no_network(closed):
    done = python(WORK, closed, *alone())
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


class Kernel:
    """A kernel that runs one cell after the other."""

    def __init__(self, environment, folder):
        self.manager, self.client = start_new_kernel(kernel_name="python3", env=environment, cwd=str(folder))

    def run(self, code):
        """Text that the cell prints, or the name and text of its error."""
        told = []

        def hear(message):
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "stream":
                told.append(content["text"])
            elif kind == "error":
                told.append(f"{content['ename']}: {content['evalue']}")

        reply = self.client.execute_interactive(code, timeout=600, output_hook=hear, allow_stdin=False)
        return reply["content"]["status"], "".join(told)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(closed, tmp_path):
    started = Kernel(closed, tmp_path)
    yield started
    started.close()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_with_the_network_closed(path, kernel):
    assert kernel.run(REACHING["urllib"])[0] == "error"
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            status, told = kernel.run("".join(cell["source"]))
            assert status == "ok", f"{cell['id']}: {told}"
