# ---
# jupyter:
#   vrn_lite:
#     about: a photograph becomes a 3D face, within a minute
# ---

# %% title [markdown]
# # One photograph, one face
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/00_one_photo_one_face.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/00_one_photo_one_face.ipynb)
#
# **What you will see.** One photograph goes in, a 3D face comes out, and you can turn it with the mouse. Then you open the
# network's answer, a *volume*, and leaf through it slice by [slice](GLOSSARY.md#slice). At the end you take the face home as a file.
#
# **You need** nothing but this page. **Time:** the cells take about one minute, on a CPU or a GPU.
#
# The method is that of Jackson, Bulat, Argyriou and Tzimiropoulos, *Large Pose 3D Face Reconstruction from a Single Image via
# Direct Volumetric CNN Regression*, ICCV 2017 ([arXiv:1703.07834](https://arxiv.org/abs/1703.07834)), below "the paper".
# The network was trained for this package, on rendered faces only. It has never seen a photograph of a person.

# %% set-up
# Set-up: run me first. On Colab this installs the package (20 s); elsewhere it is there already.
import importlib.util
import os
import sys
import time
from pathlib import Path

if "google.colab" in sys.modules and importlib.util.find_spec("vrn_lite") is None:
    pass  # %pip install -q "vrn_lite @ git+https://github.com/OWNER/vrn_lite"
# before PyTorch: on shared machines, threads must not spin while they wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import skimage.data
import torch

import vrn_lite as vrn
from vrn_lite import viz
from vrn_lite.photo.crop import crop

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% photo-text [markdown]
# ## 1. A photograph
#
# The astronaut Eileen Collins, photographed by NASA in 1999. The picture is in the public domain and comes with scikit-image.
#
# All figures are live. In JupyterLab a figure first shows as a still picture; point at it and wait a second to wake it.
# Then it can be turned, zoomed, or moved through with its slider.
#
# The cell above printed a [running profile](GLOSSARY.md#running-profile), `cpu` or `gpu`: how much the notebooks compute on this machine.

# %% photo
photo = skimage.data.astronaut()  # [height, width, 3], bytes
viz.show(
    viz.images_figure({"photograph": photo / 255}, "The photograph"),
    "Portrait of an astronaut in an orange suit; she smiles at the camera, her head slightly"
    " turned.",
)

# %% reconstruct-text [markdown]
# ## 2. One line
#
# `reconstruct` finds the face, [crops](GLOSSARY.md#crop) it, asks the network which points of space lie inside the head, and draws the surface
# between inside and outside.

# %% reconstruct
began = time.perf_counter()
result = vrn.reconstruct(photo)
print(
    f"{time.perf_counter() - began:.1f} s: a mesh of {len(result.mesh.vertices):,} vertices and"
    f" {len(result.mesh.faces):,} triangles"
)

# %% turn
mesh = result.mesh
figure = viz.mesh_figure(
    mesh.vertices,
    mesh.faces,
    mesh.visual.vertex_colors,
    title="Drag to turn, scroll to zoom",
    most_vertices=viz.MOST_VERTICES,
)
viz.show(
    figure,
    "The reconstructed face as a coloured surface, drawn from the front left;"
    f" {len(mesh.vertices):,} vertices.",
)

# %% turn-text [markdown]
# Turn the face to the side. Colours are taken from the photograph, straight along the line of sight. Where the surface
# turns away from the camera there is nothing to take, and the colour is filled in from the visible part.
#
# The next figure shows the same surface in one colour. Without the photograph's shadows you see what the network knows of the
# *shape*: the nose, the hollows of the eyes, the cheeks and the chin.
# The mouth is hardly there: so fine a shape is more than this small network can tell.

# %% shape
plain = viz.mesh_figure(
    mesh.vertices, mesh.faces, title="The shape alone", most_vertices=viz.MOST_VERTICES
)
viz.show(plain, "The same surface in one skin colour, so that only its shape shows.")

# %% crop-text [markdown]
# ## 3. What the network sees
#
# The network does not see the photograph, but a square cut out around the face, as large as the paper's authors make it. The yellow frame on the left is where
# the face was found. On the right is the crop: this small picture is all that the network is given.

# %% crop
network = vrn.load("vrn")
window, _ = crop(result.image, result.box, network.preset.grid)
viz.show(
    viz.images_figure(
        {"photograph": photo / 255, "crop": window},
        "From the photograph to the network's input",
        boxes={"photograph": result.box},
    ),
    f"Left the photograph with a frame around the face, right the crop of {window.shape[1]} x"
    f" {window.shape[2]} pixels.",
)

# %% volume-text [markdown]
# ## 4. What the network answers
#
# The answer is a [volume](GLOSSARY.md#volume): a stack of slices, from near the camera to behind the face. Each [voxel](GLOSSARY.md#voxel) (a pixel with depth) holds
# the probability that this point lies inside the head: dark is 0, bright is 1. Move the slider. The tip of the nose comes first, then the forehead and the cheeks, then
# the chin and the whole outline of the face. Hair, ears and neck are left out. Towards the back the slices fade: behind the face
# the network is less sure.
#
# The surface above is drawn where the probability is one half.

# %% volume
depth_scale = network.preset.grid.depth_scale
slices = viz.slices_figure(
    result.volume,
    "Probability of being inside, slice by slice",
    depth_scale=depth_scale,
    slices={"ci": 16, "cpu": 48, "gpu": 48}[profile],
)
viz.show(
    slices,
    "One depth slice of the volume: bright inside the head, dark outside; the slider moves through"
    " the depth.",
)

# %% files-text [markdown]
# ## 5. Take it home
#
# OBJ for Blender or MeshLab, GLB for the web and for PowerPoint, and a web page that needs no network.
# The files lie in the folder `out` beside this notebook.

# %% files
folder = Path("out")
folder.mkdir(exist_ok=True)
for path in (
    result.to_obj(folder / "face.obj"),
    result.to_glb(folder / "face.glb"),
    result.to_html(folder / "face.html"),
):
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")

# %% own-text [markdown]
# ## 6. Your own photograph
#
# Upload a photograph beside this notebook and put its name into the next cell. One face, more or less from the front, gives the best
# start. If no face is found, say where it is: `my_box = (x0, y0, x1, y1)`, a box in pixels from the brows to the chin and from ear to
# ear. (Notebook 10 has sliders for it.) The photograph stays on the machine that runs this notebook.

# %% own
my_photo, my_box = photo, None  # or, for example: my_photo, my_box = "me.jpg", (120, 80, 260, 240)
mine = vrn.reconstruct(my_photo, box=my_box)
figure = viz.mesh_figure(
    mine.mesh.vertices,
    mine.mesh.faces,
    mine.mesh.visual.vertex_colors,
    title="Yours",
    most_vertices=viz.MOST_VERTICES // 2,
)
viz.show(figure, f"The face from your photograph; {len(mine.mesh.vertices):,} vertices.")

# %% question [markdown]
# ## One question
#
# Turn the face until you look at it from behind. There is a wall. The photograph shows nothing of the back of the head, and
# little of its sides. **Which part of this surface has been seen, which has been guessed, and which was put there by us?**
#
# ## Summary
#
# A photograph became a crop, the crop a volume of probabilities, the volume a surface. No model of a face was fitted, no [landmark](GLOSSARY.md#landmark) was
# needed: the network answers for every point of space directly. That is the idea of the paper.
#
# **Discuss:** Reconstructions of this kind are shown to courts and doctors. What would have to be printed beside such a surface?
#
# **Next:** [01_volumetric_encoding.ipynb](01_volumetric_encoding.ipynb) builds such a volume from a [mesh](GLOSSARY.md#mesh), and answers the question about the wall.
#
# <!-- teacher -->
# On the question to discuss: Which part was seen and which was guessed, what the network was trained on, and how large its error is on faces with known truth. A confident look is no evidence: the surface is as smooth where it is guessed.
