"""Files in the layouts of the licensed sets, made from the procedural face: nobody may pass on the real ones."""

import json
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image
from scipy.io import savemat

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.faces.procedural import bald as bald_face

MICROMETRES, IDENTITIES, EXPRESSIONS = 1e4, 6, 4
SIGMA, SIGMA_EXP = np.linspace(9e5, 2e5, IDENTITIES), np.linspace(0.9, 0.3, EXPRESSIONS)

bald = bald_face()


def arrays(face: MorphableFace = bald) -> tuple[dict, dict]:
    """What Model_Shape.mat and Model_Exp.mat hold: columns, numbers from 1, triangles wound the other way round."""

    def flat(modes: torch.Tensor) -> np.ndarray:
        return (MICROMETRES * modes.double().flatten(1).T).numpy()

    shape = {
        "mu_shape": flat(face.mean[None]),
        "w": flat(face.identity[:IDENTITIES]) / SIGMA,
        "sigma": SIGMA[:, None],
        "tri": face.triangles.flip(1).T.numpy() + 1.0,
        "keypoints": face.landmarks[None].numpy() + 1.0,
    }
    names = ("jawOpen", "mouthSmile_L", "mouthSmile_R", "browDown_L")
    moving = face.expression[[face.expression_names.index(name) for name in names]]
    return shape, {"mu_exp": np.zeros_like(shape["mu_shape"]), "w_exp": flat(moving) / SIGMA_EXP, "sigma_exp": SIGMA_EXP[:, None]}


def write_model(folder: Path, mask: bool = True) -> Path:
    """A folder with the model's files; the mask tells the procedural face's own patch."""
    folder.mkdir(exist_ok=True)
    shape, motion = arrays()
    savemat(folder / "Model_Shape.mat", shape)
    savemat(folder / "Model_Exp.mat", motion)
    if mask:
        np.savetxt(folder / "face_mask.txt", bald.patch_vertices.numpy(), fmt="%d")
    return folder


def projected(shape: np.ndarray, expression: np.ndarray, pose: np.ndarray, height: int) -> np.ndarray:
    """Columns, rows (from 1, pixel centres at whole numbers) and depths of all vertices, as the authors' MATLAB code projects them."""
    model, motion = arrays()
    vertices = (model["mu_shape"][:, 0] + model["w"] @ shape + motion["mu_exp"][:, 0] + motion["w_exp"] @ expression).reshape(-1, 3)
    (cx, cy, cz), (sx, sy, sz) = np.cos(pose[:3]), np.sin(pose[:3])
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    points = pose[6] * vertices @ (about_x @ about_y @ about_z).T + pose[3:6]
    return np.stack((points[:, 0], height + 1 - points[:, 1], points[:, 2]))


SPOTS = (36, 45, 8)
"""Landmarks that the photographs show, one in each colour."""


def write_photo(folder: Path, name: str, pose, shape=None, expression=None, size=(450, 450), spread: float = 4.0) -> np.ndarray:
    """NAME.png and NAME.mat: a Gaussian spot in each colour at a landmark of the face; gives the landmarks [3, 68] as MATLAB counts."""
    folder.mkdir(exist_ok=True)
    shape = np.zeros(IDENTITIES) if shape is None else np.asarray(shape, dtype=float)
    expression = np.zeros(EXPRESSIONS) if expression is None else np.asarray(expression, dtype=float)
    pose, (height, width) = np.asarray(pose, dtype=float), size
    points = projected(shape, expression, pose, height)[:, bald.landmarks.numpy()]
    columns, rows = np.meshgrid(np.arange(1, width + 1), np.arange(1, height + 1))
    spots = [np.exp(-((columns - points[0, k]) ** 2 + (rows - points[1, k]) ** 2) / (2 * spread**2)) for k in SPOTS]
    Image.fromarray(np.rint(255 * np.stack(spots, -1)).astype(np.uint8)).save(folder / f"{name}.png")
    content = {"Shape_Para": shape[:, None], "Exp_Para": expression[:, None], "Pose_Para": pose[None], "pt3d_68": points}
    savemat(folder / f"{name}.mat", content)
    return points


def pose(pitch=0.0, yaw=0.0, roll=0.0, x=225.0, y=230.0, scale=1.6e-3) -> list[float]:
    """Pose_Para: angles in radians, then tx, ty, tz and the scale."""
    return [*np.deg2rad([pitch, yaw, roll]).tolist(), x, y, 0.0, scale]


def head(identity: torch.Tensor | None = None, expression: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vertices of a procedural head with neck and ears, its triangles, and its 68 landmarks."""
    vertices = bald.mesh(identity, expression).vertices[: len(bald.mean)]
    return vertices, bald.triangles, vertices[bald.landmarks]


def colours_of(points: torch.Tensor) -> torch.Tensor:
    """Smooth colours that tell where on the head a point is."""
    low, high = bald.mean.amin(0), bald.mean.amax(0)
    return 0.1 + 0.8 * ((points - low) / (high - low)).clamp(0, 1)


def turned(points: torch.Tensor, scale: float = 10.0) -> torch.Tensor:
    """The head in a scanner's own frame: millimetres, z up, y to the back, anywhere."""
    x, y, z = points.unbind(-1)
    return scale * torch.stack((x, -z, y), -1) + torch.tensor([40.0, -700.0, 1500.0])


def write_ply(path: Path, identity: torch.Tensor | None = None, expression: torch.Tensor | None = None) -> torch.Tensor:
    """A scan with vertex colours in a scanner's frame, and its landmarks; gives the landmarks in the head's own frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    vertices, triangles, landmarks = head(identity, expression)
    colours = (255 * colours_of(vertices)).round().byte().numpy()
    trimesh.Trimesh(turned(vertices).numpy(), triangles.numpy(), vertex_colors=colours, process=False).export(path)
    np.savetxt(path.with_suffix(".txt"), turned(landmarks).numpy())
    return landmarks


def textured(points: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates by a frontal view, and a picture [64, 64, 3] whose red grows to the right and green upward."""
    low, high = bald.mean.amin(0), bald.mean.amax(0)
    at = ((points - low) / (high - low))[:, :2].clamp(0, 1).numpy()
    ramp = np.linspace(0, 255, 64)
    red, green = np.meshgrid(ramp, ramp[::-1])
    return at, np.stack((red, green, np.full_like(red, 128)), -1).round().astype(np.uint8)


def write_vrml(path: Path) -> None:
    """A frame of BU-4DFE: NAME.wrl with NAME.jpg, and landmarks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    vertices, triangles, landmarks = head()
    at, picture = textured(vertices)
    points, places = (",\n".join(" ".join(f"{value:.6f}" for value in row) for row in values) for values in (vertices.tolist(), at))
    polygons = "\n".join(f"{a}, {b}, {c}, -1," for a, b, c in triangles.tolist())
    path.write_text(
        f'#VRML V2.0 utf8\nShape {{ appearance Appearance {{ texture ImageTexture {{ url "{path.with_suffix(".jpg").name}" }} }}\n'
        f"geometry IndexedFaceSet {{ coord Coordinate {{ point [ {points} ] }}\n"
        f"coordIndex [ {polygons} ]\ntexCoord TextureCoordinate {{ point [ {places} ] }}\ntexCoordIndex [ {polygons} ] }} }}\n"
    )
    Image.fromarray(picture).save(path.with_suffix(".jpg"), quality=98)
    path.with_suffix(".json").write_text(json.dumps(landmarks.tolist()))


def write_obj(path: Path) -> None:
    """An OBJ with material and texture, and landmarks in menpo's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    vertices, triangles, landmarks = head()
    at, picture = textured(vertices)
    lines = [
        f"mtllib {path.stem}.mtl",
        "usemtl skin",
        *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()),
        *(f"vt {u:.6f} {v:.6f}" for u, v in at),
    ]
    path.write_text("\n".join([*lines, *(f"f {a + 1}/{a + 1} {b + 1}/{b + 1} {c + 1}/{c + 1}" for a, b, c in triangles.tolist())]) + "\n")
    path.with_suffix(".mtl").write_text(f"newmtl skin\nmap_Kd {path.stem}.png\n")
    Image.fromarray(picture).save(path.with_suffix(".png"))
    path.with_suffix(".ljson").write_text(json.dumps({"version": 3, "groups": {"LJSON": {"landmarks": {"points": landmarks.tolist()}}}}))
