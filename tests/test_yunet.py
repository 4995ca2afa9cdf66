"""YuNet, where OpenCV is installed and the network is there (the folder in VRN_LITE_FINDER)."""

import hashlib

import numpy as np
import pytest
import skimage.data
import torch

from serving import serving
from vrn_lite.downloads import Download
from vrn_lite.frame import InputError
from vrn_lite.photo import yunet
from vrn_lite.photo.yunet import NAME, YuNet, available, fetch_yunet, model_file
from vrn_lite.samples import PoseRange, make_pairs

needed = pytest.mark.skipif(not available(), reason="OpenCV or YuNet is not there: pip install opencv-python-headless; vrn-lite fetch finder")


def test_fetching_asks_once_and_knows_the_file_by_its_sum(tmp_path):
    content = b"network"
    with serving({NAME: content}) as server:
        source = Download(server.url, {NAME: hashlib.sha256(content).hexdigest()}, "vrn-lite fetch finder", retries=0)
        assert [fetch_yunet(tmp_path, source).read_bytes() for _ in range(2)] == [content] * 2
        assert server.log == [NAME]
        with pytest.raises(InputError, match="run `vrn-lite fetch finder` again"):
            fetch_yunet(tmp_path, Download(server.url, {NAME: "0" * 64}, "vrn-lite fetch finder", retries=0))


def test_without_opencv_or_the_network_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(yunet, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'vrn_lite\[finder\]'"):
        YuNet(tmp_path)
    monkeypatch.setattr(yunet, "find_spec", lambda name: True)
    with pytest.raises(InputError, match="run `vrn-lite fetch finder` first"):
        YuNet(tmp_path)
    assert not available(tmp_path)
    assert model_file(tmp_path) == tmp_path / NAME


@needed
@pytest.mark.parametrize("quarters", range(4))
def test_astronaut_is_found_however_it_is_turned(quarters):
    image = np.ascontiguousarray(np.rot90(skimage.data.astronaut(), -quarters))
    face = YuNet().find(image)[0]
    x, y = (222.5, 133)
    there = ((x, y), (512 - y, x), (512 - x, 512 - y), (y, 512 - x))[quarters]
    np.testing.assert_allclose(((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2), there, atol=12)
    assert abs((face.angle - 90 * quarters + 180) % 360 - 180) < 20


@needed
def test_the_box_constants_fit_again(ict_face, monkeypatch):
    for name, neutral in (("DOWN", 0.0), ("WIDE", 1.0), ("HIGH", 1.0)):
        monkeypatch.setattr(yunet, name, neutral)
    poses = PoseRange(yaw=45, pitch=8, pitch_most=15, angle=0, shift=10, mirror=0)
    pairs, fits = make_pairs(ict_face, "paper", 24, torch.Generator().manual_seed(5), poses=poses), []
    for image, points in zip(pairs.images, pairs.landmarks[..., :2].numpy(), strict=True):
        for face in YuNet().find((image.permute(1, 2, 0).numpy().clip(0, 1) * 255).round().astype(np.uint8))[:1]:
            x0, y0, x1, y1 = face.box
            low, high = points.min(0), points.max(0)
            lower = ((low + high)[1] - y0 - y1) / 2 / (y1 - y0)
            fits.append([lower, (high - low)[0] / (x1 - x0), (high - low)[1] / (y1 - y0)])
    assert len(fits) >= 12
    monkeypatch.undo()
    np.testing.assert_allclose(np.median(fits, axis=0), (yunet.DOWN, yunet.WIDE, yunet.HIGH), atol=0.07)
