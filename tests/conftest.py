"""What all tests share: the profile, the data beside the checkout, and a closed network."""

import os
import socket
from pathlib import Path

import pytest

# Read by the notebooks' kernels too. One thread each: two workers share two cores.
os.environ.setdefault("VRN_LITE_PROFILE", "ci")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PLOTLY_RENDERER", "plotly_mimetype")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with converted face models and reference figures, which no public clone has."""
    folder = Path(os.environ.get("VRN_LITE_SHARED", ROOT.parent / "shared"))
    if not (folder / "faces").is_dir():
        pytest.skip("needs the shared data folder: set VRN_LITE_SHARED, or put it beside the checkout as ../shared")
    return folder


@pytest.fixture(scope="session")
def ict_face(shared):
    """The ICT-FaceKit model."""
    from vrn_lite.faces import ict

    return ict(shared / "faces" / "ict_facekit.npz")


@pytest.fixture(scope="session")
def appearance(shared, tmp_path_factory):
    """Folder with the converted photographs of skins, eyes and hair."""
    import numpy as np

    from vrn_lite.synth.assets import convert_skins

    if not (shared / "appearance").is_dir():
        pytest.skip("needs MakeHuman's source files in the shared data folder, as appearance/{skins,eyes,hair}")
    folder = tmp_path_factory.mktemp("appearance")
    np.savez(folder / "makehuman_skins.npz", **convert_skins(shared / "appearance"))
    return folder


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder: (exit code, standard output, standard error)."""
    from vrn_lite.cli import main

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, error = capsys.readouterr()
        return left.value.code, out, error

    return call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Weights of an untrained tiny network, in a file."""
    from vrn_lite.networks.base import build
    from vrn_lite.networks.weights import save_weights

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(build("vrn", "tiny"), path, data="none")
    return path


@pytest.fixture(autouse=True)
def _closed_network(monkeypatch):
    """No test reaches beyond this machine."""
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
