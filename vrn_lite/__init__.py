"""vrn_lite: "Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN Regression", executable.

The public names, in the order of the flow; each is imported from its room when it is first used::

    face model --sample--> mesh --camera--> placed mesh --raster--> fragments --+--nearest--> image --network--> logits
                                                                                +--parity --> volume ---loss-----^ |
                                                                                               mesh <---surface----+
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ROOMS = {
    "Grid": "frame",
    "InputError": "frame",
    "Preset": "presets",
    "PRESETS": "presets",
    "preset": "presets",
    "Mesh": "mesh",
    "MorphableFace": "faces.morphable",
    "Similarity": "camera",
    "Fragments": "raster",
    "rasterize": "raster",
    "voxelize": "volume",
    "isosurface": "volume",
    "Appearance": "synth.appearance",
    "FacePairs": "samples",
    "make_pairs": "samples",
    "FaceNetwork": "networks.base",
    "Prediction": "networks.base",
    "VRN": "networks.vrn",
    "build": "networks.base",
    "variant": "networks.base",
    "load": "networks.weights",
    "icp": "align",
    "iou": "metrics",
    "nme": "metrics",
    "OptimConfig": "training.optim",
    "StepMetrics": "training.log",
    "Synthetic": "training.data",
    "Mixed": "training.data",
    "train": "training.loop",
    "TestSet": "evaluation.testsets",
    "heldout": "evaluation.testsets",
    "Predictor": "evaluation.predictors",
    "Prediction3D": "evaluation.predictors",
    "Scores": "evaluation.evaluate",
    "evaluate": "evaluation.evaluate",
    "Reconstruction": "photo.reconstruct",
    "reconstruct": "photo.reconstruct",
    "reconstruct_all": "photo.many",
    "Registered": "photo.registration",
    "register": "photo.registration",
}
_WHOLE_ROOMS = ("faces", "datasets", "exercises", "viz")

__all__ = ["__version__", *_ROOMS, *_WHOLE_ROOMS]

if TYPE_CHECKING:
    from vrn_lite import datasets, exercises, faces, viz
    from vrn_lite.align import icp
    from vrn_lite.camera import Similarity
    from vrn_lite.evaluation.evaluate import Scores, evaluate
    from vrn_lite.evaluation.predictors import Prediction3D, Predictor
    from vrn_lite.evaluation.testsets import TestSet, heldout
    from vrn_lite.faces.morphable import MorphableFace
    from vrn_lite.frame import Grid, InputError
    from vrn_lite.mesh import Mesh
    from vrn_lite.metrics import iou, nme
    from vrn_lite.networks.base import FaceNetwork, Prediction, build, variant
    from vrn_lite.networks.vrn import VRN
    from vrn_lite.networks.weights import load
    from vrn_lite.photo.many import reconstruct_all
    from vrn_lite.photo.reconstruct import Reconstruction, reconstruct
    from vrn_lite.photo.registration import Registered, register
    from vrn_lite.presets import PRESETS, Preset, preset
    from vrn_lite.raster import Fragments, rasterize
    from vrn_lite.samples import FacePairs, make_pairs
    from vrn_lite.synth.appearance import Appearance
    from vrn_lite.training.data import Mixed, Synthetic
    from vrn_lite.training.log import StepMetrics
    from vrn_lite.training.loop import train
    from vrn_lite.training.optim import OptimConfig
    from vrn_lite.volume import isosurface, voxelize


def __getattr__(name: str) -> Any:
    """Import a public name from its room (PEP 562): `import vrn_lite` itself stays quick."""
    if name in _WHOLE_ROOMS:
        return import_module(f"vrn_lite.{name}")
    if name not in _ROOMS:
        raise AttributeError(f"module 'vrn_lite' has no attribute {name!r}")
    return getattr(import_module(f"vrn_lite.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
