# ---
# jupyter:
#   vrn_lite:
#     about: many faces, three variants side by side, failures, your own photograph, files to take home
# ---

# %% title [markdown]
# # Gallery
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/10_gallery.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/10_gallery.ipynb)
#
# **What you will see.** The shipped networks at work: many faces, poses and expressions, and the paper's three variants side by side under one camera.
# Then the failures, found by a search and not by chance, each with its likely reason. At the end your own photograph, and files to take home.
#
# **You need** notebooks 00 and 02; the others explain what is behind it. No exercises. **Time:** about 15 minutes of looking; the cells take about two minutes on a CPU, less on a GPU.
#
# Cells that only measure and draw are folded: click on ··· to read one.
#
# The paper is Jackson et al., *Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN Regression*, ICCV 2017
# ([arXiv:1703.07834](https://arxiv.org/abs/1703.07834)).

# %% set-up
# Set-up: run me first. On Colab this installs the package (20 s); elsewhere it is there already.
import importlib.util
import os
import sys
from pathlib import Path

if "google.colab" in sys.modules and importlib.util.find_spec("vrn_lite") is None:
    pass  # %pip install -q "vrn_lite @ git+https://github.com/OWNER/vrn_lite"
# before PyTorch: on shared machines, threads must not spin while they wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import skimage.data
import skimage.transform
import torch
from IPython.display import FileLinks
from scipy.spatial import cKDTree

import vrn_lite as vrn
from vrn_lite import viz
from vrn_lite.evaluation import testsets
from vrn_lite.inference import landmarks_in, probabilities
from vrn_lite.metrics import landmark_nme
from vrn_lite.photo.reconstruct import paint
from vrn_lite.viz import widgets

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% faces-text [markdown]
# ## 1. Many faces
#
# These are held-out faces: drawn by the package, with seeds that no training uses. If you have fetched ICT-FaceKit (`vrn-lite fetch ict`), they come from it, as the shipped networks' training did. Otherwise they
# come from the built-in model, which is a harder test: another source of faces.
#
# VRN-Guided reconstructs each from the picture alone. Its landmarks are those that the detector finds.

# %% faces
face = vrn.faces.default()
source = face.name
guided, detector = vrn.load("guided"), vrn.load("landmarks")
grid = guided.preset.grid
many = {"ci": 4, "cpu": 8, "gpu": 16}[profile]
pairs = next(vrn.heldout(face, many).batches(guided.preset))


def guided_answers(images):
    """Probabilities [b, d, h, w] and the landmarks that led to them."""
    points = landmarks_in(detector, images)
    return probabilities(guided, images, False, points).cpu(), points.cpu()


chances, found = guided_answers(pairs.images)
overlap = vrn.iou(chances > 0.5, pairs.volumes)
print(f"{many} {source} faces, IoU {float(overlap.mean()):.3f}")
half = many // 2
columns = {}
for name, part in (("", slice(half)), (" (2)", slice(half, many))):
    columns |= {
        f"image{name}": pairs.images[part],
        f"answer{name}": viz.shade_volume(chances[part], grid.depth_scale),
        f"truth{name}": viz.shade_volume(pairs.volumes[part], grid.depth_scale),
    }
viz.show(
    viz.image_grid(columns, "Held-out faces"),
    f"{many} rendered faces, each with the network's answer and the truth beside it, both drawn as"
    " lit surfaces.",
)

# %% close-text [markdown]
# Look closer at one of them. Left: the network's surface, with the picture's colours. Middle: the same surface, coloured by its distance to the truth. Right: the truth. The slider below turns all three.
# (Dragging turns one of them. In the page that section 7 writes, and on Colab, the others follow.)

# %% close
one = int(overlap.argsort()[many // 2])  # a face of middling overlap
surface = vrn.isosurface(chances[one], depth_scale=grid.depth_scale)
truth = pairs.mesh(one)
goal = truth.vertices[truth.face]
# px, to the nearest true vertex of the face
away = torch.tensor(cKDTree(goal.numpy()).query(surface.vertices)[0])
front = torch.tensor(surface.vertices[:, 2]) < float(goal[:, 2].max())
scenes = {
    "answer": (
        viz.surface_of(chances[one], depth_scale=grid.depth_scale)
        | {"colours": paint(surface, pairs.images[one], grid)}
    ),
    "its error": (
        viz.surface_of(chances[one], depth_scale=grid.depth_scale)
        | {"intensity": torch.where(front, away, 0.0)}
    ),
    "truth": {
        "vertices": truth.vertices,
        "triangles": truth.solid_triangles(),
        "colours": viz.COLOURS[5],
    },
}
nme = vrn.nme(surface, truth, depth_aligned=True)
title = f"One face: IoU {float(overlap[one]):.3f}, NME {nme:.3f}"
viz.show(
    viz.linked_figure(
        scenes, title, intensity_name="error (px)", intensity_range=(0, 6), most_vertices=6000
    ),
    "Three meshes side by side under one camera: the answer in the picture's colours, the answer"
    " coloured by its error, and the truth.",
)

# %% poses-text [markdown]
# ## 2. Poses
#
# One person, turned from one profile to the other. The volume turns with the image: the network does not have to know where "front" is, it answers for each pixel what lies behind it. *Look* at the cheek that
# is turned away: the image does not show it, and the network fills it in from what it knows of faces.

# %% poses
yaws = {
    "ci": (-60, 0, 60),
    "cpu": (-90, -60, -30, 0, 30, 60, 90),
    "gpu": (-90, -60, -30, 0, 30, 60, 90),
}[profile]
turned = [viz.drawn_face(face, {0: 1.0, 1: -1.0}, yaw=yaw, grid=grid) for yaw in yaws]


def rows_of(drawn):
    """Image, answer and truth of a face, [3, 3, h, w]."""
    answer, _ = guided_answers(drawn.images)
    both = viz.shade_volume(torch.cat([answer, drawn.volumes.float()]), grid.depth_scale)
    return torch.cat([drawn.images, both])


viz.show(
    viz.image_grid(
        {f"{yaw}°": rows_of(drawn) for yaw, drawn in zip(yaws, turned, strict=True)},
        "Yaw: image, answer, truth",
    ),
    f"One rendered person at {len(yaws)} angles of yaw in columns; in rows the image, the network's"
    " answer and the truth.",
)

# %% expressions-text [markdown]
# ## 3. Expressions
#
# The same person with the expressions of the BU-4DFE protocol (notebook 07). The mouth of the solid is filled, in training and in the truth: a volume has no lips, only what is behind them.

# %% expressions
names = {
    "ci": ("Happy", "Surprise"),
    "cpu": tuple(testsets.EXPRESSIONS),
    "gpu": tuple(testsets.EXPRESSIONS),
}[profile]
looks = {
    name: viz.drawn_face(face, {0: 1.0, 1: -1.0}, testsets.EXPRESSIONS[name], yaw=20, grid=grid)
    for name in names
}
viz.show(
    viz.image_grid(
        {name: rows_of(drawn) for name, drawn in looks.items()}, "Expressions: image, answer, truth"
    ),
    f"One rendered person with {len(names)} expressions in columns; in rows the image, the"
    " network's answer and the truth.",
)

# %% variants-text [markdown]
# ## 4. Three variants, one camera
#
# VRN looks at the picture alone. VRN-Multitask finds landmarks as well. VRN-Guided is given landmarks. Here is the same photograph, three times. *Predict first:* where will they differ most, in the middle of the face or at its sides?

# %% variants-predict [markdown]
# Where will the three variants differ most, in the middle of the face or at its sides?
#
# One expects the sides, where the picture shows least. On this photograph they are close everywhere. Turn the slider to see it.
#
# <!-- teacher -->
# A good moment to ask what the three share: the same training pictures, hence the same habits. That three networks agree does not make them right.


# %% variants
photo = skimage.data.astronaut()
careful = {"ci": False, "cpu": True, "gpu": True}[profile]  # average eight answers
results = {
    name: vrn.reconstruct(photo, model=name, test_time_augmentation=careful)
    for name in ("vrn", "multitask", "guided")
}


def coloured(result):
    """A reconstruction as a part of a figure."""
    return {
        "vertices": result.mesh.vertices,
        "triangles": result.mesh.faces,
        "colours": result.mesh.visual.vertex_colors[:, :3],
    }


variants = viz.linked_figure(
    {name: coloured(result) for name, result in results.items()},
    "One photograph, three variants",
    most_vertices=viz.MOST_VERTICES // 3,
)
for name, result in results.items():
    width, height, depth = result.mesh.extents
    print(
        f"{name:10} {len(result.mesh.vertices):,} vertices; {width:.0f} x {height:.0f} px,"
        f" {depth:.0f} px deep"
    )
viz.show(
    variants,
    "The astronaut's face reconstructed by VRN, VRN-Multitask and VRN-Guided, side by side; the"
    " slider turns all three.",
)

# %% failures-text [markdown]
# ## 5. Failures
#
# A gallery that shows successes only would lie. So we search: of more held-out faces, those with the *largest* error, by VRN-Guided. The table gives what may explain them: how far the head is turned, and how far the detector's landmarks are off.

# %% failures tags=["hide-input"]
crowd = {"ci": 8, "cpu": 48, "gpu": 128}[profile]
seen = []  # (error, image, answer, truth, landmarks, yaw, pitch, landmark error)
for batch in vrn.heldout(face, crowd).batches(guided.preset):
    for i in range(len(batch)):
        # one at a time: a volume of 128 voxels a side takes 8 MB
        answer, points = guided_answers(batch.images[i : i + 1])
        meets = float(answer.max()) > 0.5
        error = (
            vrn.nme(
                vrn.isosurface(answer[0], depth_scale=grid.depth_scale),
                batch.mesh(i),
                depth_aligned=True,
            )
            if meets
            else float("inf")
        )
        reliefs = viz.shade_volume(
            torch.stack([answer[0], batch.volumes[i].float()]), grid.depth_scale
        )
        off = float(landmark_nme(points, batch.landmarks[i : i + 1])[0])
        seen.append(
            (
                error,
                batch.images[i],
                *reliefs,
                points[0],
                float(batch.yaw[i]),
                float(batch.pitch[i]),
                off,
            )
        )
seen.sort(key=lambda row: -row[0])
errors = [row[0] for row in seen]
print(
    f"{crowd} faces: median NME {np.median(errors):.3f}, worst {errors[0]:.3f}; median landmark NME"
    f" {np.median([row[-1] for row in seen]):.3f}"
)
worst = seen[:4]
for number, (error, *_, yaw, pitch, off) in enumerate(worst, 1):
    print(
        f"row {number}: NME {error:.3f}, yaw {yaw:+4.0f}, pitch {pitch:+4.0f} degrees, landmark NME"
        f" {off:.3f}"
    )
columns = {
    name: torch.stack([row[k] for row in worst])
    for k, name in enumerate(("image", "answer", "truth"), 1)
}
viz.show(
    viz.image_grid(
        columns,
        "The four largest errors",
        landmarks={"image": torch.stack([row[4] for row in worst])},
    ),
    "The four held-out faces with the largest error: the image with the landmarks that were found,"
    " the answer, and the truth.",
)


# %% failures-after [markdown]
# Go through them with three questions. *Is the head turned far, or pitched?* Then a part of the face is hidden. *Are the landmarks off?* Then the guided network was led to a wrong place: it trusts its landmarks (notebook 06). *Is something in the way*: a hand, hair,
# hard light, glasses? Then the picture does not say what is there. Below, how far the first two explain the errors of the whole crowd: the correlation of the ranks.
#
# <!-- teacher -->
# With few faces a correlation of ranks is a hint. Ask what else they see in the four pictures that the table does not list.


# %% reasons
def ranks(values):
    """Place of each value in the order of all."""
    return np.argsort(np.argsort(values))


finite = [row for row in seen if np.isfinite(row[0])]
reasons = {
    "|yaw|": [abs(row[5]) for row in finite],
    "|pitch|": [abs(row[6]) for row in finite],
    "landmark NME": [row[7] for row in finite],
}
explained = {
    name: float(np.corrcoef(ranks(values), ranks([row[0] for row in finite]))[0, 1])
    for name, values in reasons.items()
}
print(", ".join(f"{name}: {value:+.2f}" for name, value in explained.items()))
viz.show(
    viz.bars_figure(
        {f"{len(finite)} faces": explained},
        "what may explain an error",
        "correlation of ranks with NME",
    ),
    "Rank correlation of the error with yaw, pitch and the landmarks' error: "
    + ", ".join(f"{name} {value:+.2f}" for name, value in explained.items())
    + ".",
)

# %% hard-text [markdown]
# **Photographs fail in other ways.** No truth is needed to see it: take a photograph that works, and do to it what real photographs suffer. The box stays that of the good photograph, so that only the picture is to blame (turned, it turns with it).
#
# * *Tilted* by 60 degrees. Training turned its faces by at most 45.
# * *Covered*: the lower half of the face is grey.
# * *Dark*, with the light from one side.
# * *Coarse*: the face has 20 pixels across.

# %% hard
box = results["guided"].box
x0, y0, x1, y1 = (round(value) for value in box)
middle = ((x0 + x1) / 2, (y0 + y1) / 2)
covered = photo.copy()
covered[(y0 + y1) // 2 : y1 + 10, x0 - 10 : x1 + 10] = 128
dark = (photo * np.interp(np.arange(photo.shape[1]), [x0, x1], [0.03, 0.5])[None, :, None]).astype(
    np.uint8
)
factor = (x1 - x0) / 20
coarse = skimage.transform.rescale(photo, 1 / factor, anti_aliasing=True, channel_axis=-1)
cases = {
    "as it was": photo / 255,
    "tilted": skimage.transform.rotate(photo, 60, center=middle),
    "covered": covered / 255,
    "dark": dark / 255,
    "coarse": skimage.transform.resize(coarse, photo.shape, order=1),
}
margin = (x1 - x0) // 2
window = (slice(max(y0 - margin, 0), y1 + margin), slice(max(x0 - margin, 0), x1 + margin))
images, solids = {}, {}
for name, case in cases.items():
    image = (case * 255).astype(np.uint8)
    images[name] = case[window]
    try:
        solids[name] = coloured(vrn.reconstruct(image, box=box, test_time_augmentation=False))
    except vrn.InputError as error:
        print(f"{name}: {error}")
viz.show(
    viz.images_figure(images, "What real photographs suffer"),
    "The astronaut's face as it was, tilted, half covered, dark and coarse.",
)

# %% hard-solids
viz.show(
    viz.linked_figure(solids, "The answers", most_vertices=viz.MOST_VERTICES // 5),
    "The reconstructions of the photograph as it was, tilted, half covered, dark and coarse, side"
    " by side; the slider turns all of them.",
)

# %% hard-after [markdown]
# Each case fails in its own way. Turn the slider to 60 degrees, where it shows: from the front the picture's colours hide a wrong shape. What is covered is not left out: the network puts a *plausible* chin there. This is what a network that has learned faces does, and it looks as sure of it as of the rest.
# That is the danger of such pictures: nothing in the surface says which part was seen.
#
# <!-- teacher -->
# Each case is outside of what training has shown, in one respect. Ask which of them a system could notice by itself (the tilt, the darkness), and which it could not (the covered chin).

# %% own-text [markdown]
# ## 6. Your photograph
#
# Upload a photograph, or name a file that lies beside this notebook. The yellow frame starts at the face that is found. Where none is, move the frame with the sliders: from the brows to the chin, and from ear to ear. Then press *Reconstruct*. Nothing leaves this computer
# (on Colab and Binder: the machine that is lent to you).
#
# The sliders need a running kernel. Without one, or if nothing shows, use the cell below them: change the name and the numbers, and run it.

# %% own
mine = widgets.Photograph(photo)
mine

# %% own-twin
my_photo, my_box = photo, None  # or, for example: my_photo, my_box = "me.jpg", (120, 80, 260, 240)
result = mine.result or vrn.reconstruct(my_photo, box=my_box, test_time_augmentation=careful)
viz.show(
    viz.mesh_figure(
        result.mesh.vertices,
        result.mesh.faces,
        result.mesh.visual.vertex_colors,
        title="Drag to turn, scroll to zoom",
        most_vertices=viz.MOST_VERTICES,
    ),
    f"The reconstructed face as a coloured surface of {len(result.mesh.vertices):,} vertices.",
)

# %% files-text [markdown]
# ## 7. Take it home
#
# OBJ for Blender and MeshLab, GLB for the web and for slides, and two web pages that need no network: your face, and the three variants of section 4, where all scenes follow the one that you drag. The links open or download the files; on Colab, find the folder `out` in the
# files browser (the folder sign on the left).

# %% files
folder = Path("out")
folder.mkdir(exist_ok=True)
result.to_obj(folder / "face.obj")
result.to_glb(folder / "face.glb")
result.to_html(folder / "face.html", title="A face")
viz.write_html(variants, folder / "variants.html")
for path in sorted(folder.iterdir()):
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
FileLinks("out", recursive=False)

# %% summary [markdown]
# ## Summary
#
# * One network, trained on rendered faces, answers for faces in all poses and expressions, and for photographs, which it has never seen.
# * Side by side under one camera the three variants are close on this photograph, and they share the pictures that they learned from.
# * Failures have reasons: a pose that hides half of the face, landmarks that lead astray, things in the way, and pictures unlike those of the training. The surface does not tell which of its parts were guessed.
#
# **Discuss:** Nothing in the surface shows which part was seen. How could one draw a reconstruction so that it does?
#
# **Next:** this is the end of the course. `vrn-lite reconstruct me.jpg` does on the command line what you did here, `vrn-lite train` trains for as long as you like, and `vrn-lite reproduce` repeats every number of notebooks 07 to 09. The package itself is small enough to be read in an
# evening: begin with `vrn_lite/samples.py` and `vrn_lite/photo/reconstruct.py`.
#
# <!-- teacher -->
# On the question to discuss: Colour by the probability's steepness, by how much answers to slightly moved crops differ, or leave out what is turned away. Each is an estimate, not a proof: a network can be sure and wrong.
