# ---
# jupyter:
#   vrn_lite:
#     about: a face model, its landmarks, and image-volume pairs made on the fly
# ---

# %% title [markdown]
# # Faces and images
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/02_faces_and_images.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/02_faces_and_images.ipynb)
#
# **What you will learn.** How a few numbers make a face: identity modes and expressions. How a camera places it, and where its 68 landmarks are.
# How one rasterization gives an image and a volume that fit each other exactly. Why the images are made as different from each other as possible.
#
# **You need** notebook 01. **Time:** about 25 minutes of reading; the cells take less than a minute on a CPU or a GPU.
#
# The paper (Jackson et al., ICCV 2017, [arXiv:1703.07834](https://arxiv.org/abs/1703.07834)) trains on 300W-LP: photographs to which a face model was fitted
# (its section 3.1). Those fits are only estimates, and the face model needs a licence. Here the images are drawn from the model instead. So the true shape is known, and nothing has to be downloaded.

# %% set-up
# Set-up: run me first. On Colab this installs the package (20 s); elsewhere it is there already.
import importlib.util
import os
import sys
import time

if "google.colab" in sys.modules and importlib.util.find_spec("vrn_lite") is None:
    pass  # %pip install -q "vrn_lite @ git+https://github.com/OWNER/vrn_lite"
# before PyTorch: on shared machines, threads must not spin while they wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

import vrn_lite as vrn
from vrn_lite import exercises, landmarks, viz
from vrn_lite.camera import crop_camera
from vrn_lite.frame import Grid
from vrn_lite.raster import nearest, rasterize
from vrn_lite.synth import photographed
from vrn_lite.synth.assets import fetched
from vrn_lite.synth.render import vertex_normals
from vrn_lite.viz import widgets

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% model-text [markdown]
# ## 1. A face from numbers
#
# A [*morphable face*](GLOSSARY.md#morphable-model) is a [mean face](GLOSSARY.md#mean-face) and two lists of displacements, one vector for each vertex:
#
# $$\text{face} = \text{mean} + \sum_i a_i\,\text{identity}_i + \sum_j b_j\,\text{expression}_j$$
#
# The $a_i$ say who it is. They are drawn from a normal distribution, N(0, 1). The $b_j$ say what the face does. They lie between 0 and 1.
#
# The package has a face of its own, sculpted in code: `vrn.faces.procedural()`. If you have fetched [ICT-FaceKit](GLOSSARY.md#ict-facekit), a model from real scans (`vrn-lite fetch ict`), write `vrn.faces.ict()` instead.
# All cells work with either. (Figures wake when you point at them.)

# %% model
face = vrn.faces.procedural()
print(
    f"{face.name}: {len(face.mean):,} vertices, {len(face.identity)} identity modes,"
    f" {len(face.expression)} expressions, 68 landmarks"
)
grid = Grid(depth=200, height=192, width=192, depth_scale=1.5)


def posed(vertices, yaw=0.0, pitch=0.0, roll=0.0):
    """Vertices [b, v, 3] of the model frame in the voxel frame, cropped as the paper does."""
    angles = [torch.full((len(vertices),), float(angle)) for angle in (yaw, pitch, roll)]
    return crop_camera(vertices[:, face.landmarks], *angles, face.interocular, grid)(vertices)


mean = face.mesh()
points = posed(mean.vertices[None])[0]
figure = viz.mesh_figure(
    points,
    face.triangles,
    title=f"The mean face ({face.name}) and its 68 landmarks",
    landmarks=points[face.landmarks],
)
eyes_and_teeth = (
    sum(
        face.regions[name]
        for name in ("sclera", "iris", "pupil", "teeth", "mouth")
        if name in face.regions
    )
    > 0
)
# without ears, neck and hair: smaller figures below
front = face.triangles[face.patch | eyes_and_teeth[face.triangles].all(1)]
viz.show(
    figure,
    "The mean face as a shaded mesh with the 68 landmark points on jaw, brows, nose, eyes and"
    " lips.",
)

# %% identity-text [markdown]
# ## 2. Who it is: identity
#
# Each mode moves many vertices at once. The slider shows the first modes at +2.5 standard deviations, under one camera; the colour tells how far each vertex has moved from the mean face, on one scale for all modes. *Look for:*
# can you give each mode a name? (Colours hide the shape a little. Section 9 has sliders for three modes, in skin colour.)

# %% identity
modes = {"ci": 3, "cpu": 4, "gpu": 4}[profile]
# the mean face's own, for all of them
camera = crop_camera(mean.landmark_points()[None], *torch.zeros(3, 1), face.interocular, grid)
parts = {}
for mode in range(modes):
    a = torch.zeros(len(face.identity))
    a[mode] = 2.5
    changed = camera(face.mesh(a).vertices[None])[0]
    parts[f"mode {mode}"] = {
        "vertices": changed,
        "triangles": front,
        "intensity": (changed - points).norm(dim=1),
    }
largest = max(float(part["intensity"].max()) for part in parts.values())
figure = viz.meshes_figure(
    parts,
    "Identity modes at +2.5",
    slider="shown",
    intensity_name="moved (px)",
    intensity_range=(0, largest),
)
viz.show(
    figure,
    f"The face with one identity mode at a time, coloured by displacement, up to {largest:.0f}"
    " pixels.",
)


# %% ex1-text [markdown]
# ### Exercise 1: blend a face
#
# `mean` is [v, 3], `modes` is [i, v, 3], `coefficients` is [i]. Write the sum of section 1.


# %% ex1
def blend(mean, modes, coefficients):
    ### BEGIN SOLUTION
    return mean + torch.einsum("i,ivc->vc", coefficients, modes)
    ### END SOLUTION


exercises.check("02.1", blend)


# %% expression-text [markdown]
# ## 3. What it does: expressions
#
# Expressions have names. Those that end in `_L` and `_R` move one side of the face only (the person's left and right). Below are some of them, both sides together.


# %% expression
def expression_named(**strengths):
    """Expression coefficients by name; both sides, where a name has two."""
    b = torch.zeros(len(face.expression))
    for index, name in enumerate(face.expression_names):
        b[index] = strengths.get(name.removesuffix("_L").removesuffix("_R"), 0.0)
    return b


available = {name.removesuffix("_L").removesuffix("_R") for name in face.expression_names}
print(len(available), "names, without their sides:", ", ".join(sorted(available)))
wanted = ["jawOpen", "mouthSmile", "mouthPucker", "eyeBlink"][
    : {"ci": 3, "cpu": 4, "gpu": 4}[profile]
]
parts = {
    name: {
        "vertices": posed(face.mesh(None, expression_named(**{name: 1.0})).vertices[None])[0],
        "triangles": front,
    }
    for name in wanted
}
viz.show(
    viz.meshes_figure(parts, "Expressions at full strength", slider="shown"),
    "The mean face with one expression at a time, for example an open jaw or a smile.",
)

# %% pose-text [markdown]
# ## 4. Where it looks: pose and camera
#
# A point x of the model frame (y up, z to the viewer) goes to the voxel frame (y down, z away) by
#
# $$p = s\;\mathrm{diag}(1, -1, -1)\;R_z(\text{roll})\,R_x(\text{pitch})\,R_y(\text{yaw})\;x + t$$
#
# Scale s and shift t come from the paper's crop: the box around the projected landmarks gets the size of 90 pixels of 192, and its centre goes to the centre of the image. So a profile appears larger
# than a frontal face. Positive yaw turns the nose to the right of the image.
#
# (The figure is seen a little from the left, like all 3D figures here. Turn it until you look along z, and you see what the camera sees.)

# %% pose
angles = {"ci": (-60, 0, 60), "cpu": (-90, -45, 0, 45, 90), "gpu": (-90, -45, 0, 45, 90)}[profile]
parts = {}
for angle in angles:
    turned = posed(mean.vertices[None], yaw=angle)[0]
    parts[f"{angle} degrees"] = {
        "vertices": turned,
        "triangles": front,
        "landmarks": turned[face.landmarks],
    }
    low, high = turned[face.landmarks, :2].aminmax(dim=0)
    width, height = (high - low).tolist()
    print(
        f"yaw {angle:4}: landmark box {width:5.1f} x {height:5.1f} px, sqrt(width * height) ="
        f" {(width * height) ** 0.5:.1f} px"
    )
viz.show(
    viz.meshes_figure(parts, "The paper's range of yaw", slider="yaw"),
    "The mean face turned from one profile to the other, with its landmarks.",
)


# %% ex2-text [markdown]
# ### Exercise 2: the camera
#
# Write the formula above for points [n, 3] (one point a row), with the rotation matrix already given.


# %% ex2
def project(points, scale, rotation, translation):
    ### BEGIN SOLUTION
    flip = torch.tensor([1.0, -1.0, -1.0])
    return scale * flip * (points @ rotation.T) + translation
    ### END SOLUTION


exercises.check("02.2", project)

# %% ex2-solution [markdown]
# Two axes are flipped, so that this is a rotation. With one flip it would be a reflection, and every triangle would show its back.

# %% landmarks-text [markdown]
# ## 5. Where things are: landmarks
#
# The 68 landmarks follow the iBUG scheme: jaw, brows, nose, eyes, lips, always in the same order. Left and right are those of the image in the list below: brow left is the person's right brow. They are vertices of the model, so they have a true depth as well, and
# the ones on the far side of a turned head are known although they cannot be seen.
#
# A mirrored image shows a mirrored face. Its left eye was a right eye. So the points move *and* change their numbers.

# %% landmarks
for name, numbers in landmarks.GROUPS.items():
    print(f"{name:12} {numbers.start:2} to {numbers.stop - 1}")
# mirror twice, and nothing has changed
assert torch.equal(landmarks.FLIP[landmarks.FLIP], torch.arange(68))


# %% ex3-text [markdown]
# ### Exercise 3: mirror the landmarks
#
# `points` is [68, 3] in an image of `width` pixels; landmark l of the mirrored face is landmark `flip[l]` of the face. Give the landmarks of the mirrored image. Pixel centres are at halves: column 0 is at x = 0.5.


# %% ex3
def mirror(points, width, flip):
    ### BEGIN SOLUTION
    mirrored = points[flip].clone()
    mirrored[:, 0] = width - mirrored[:, 0]
    return mirrored
    ### END SOLUTION


exercises.check("02.3", mirror)

# %% render-text [markdown]
# ## 6. From fragments to an image
#
# Notebook 01 listed all crossings of all rays. For the image, only the nearest one of each pixel counts. It knows its triangle and its place in it (three weights), so that
# any property of the vertices can be read off: depth, [normal](GLOSSARY.md#normal), colour. Brightness is the product of the normal and the direction of the light, never below zero.

# %% render
turned = posed(mean.vertices[None], yaw=35, pitch=5)
fragments = rasterize(turned, mean.triangles, grid.height, grid.width, one_sided=~mean.solid)
seen = nearest(fragments.where(mean.visible[fragments.triangle]))
print(f"{len(fragments.depth):,} fragments, {len(seen.depth):,} of them seen")
normals = vertex_normals(turned[:, : len(face.mean)], face.triangles)[0]
corners = normals[face.triangles[seen.triangle]]  # [n, 3 corners, 3]
normal = torch.nn.functional.normalize((seen.weights[..., None] * corners).sum(1), dim=1)


def canvas(values, empty=1.0):
    """An image with `values` at the seen pixels."""
    image = torch.full((grid.height * grid.width, *values.shape[1:]), empty)
    image[seen.pixel] = values.float()
    return image.view(grid.height, grid.width, *values.shape[1:])


near, far = seen.depth.aminmax()
light = torch.nn.functional.normalize(torch.tensor([-0.5, -0.5, -1.0]), dim=0)
shaded = 0.2 + 0.8 * (normal @ light).clamp(0, 1)
images = {
    "depth (bright is near)": canvas((far - seen.depth) / (far - near), 0.0),
    "normal as colour": canvas((normal * torch.tensor([1.0, -1.0, -1.0]) + 1) / 2),
    "light": canvas(shaded, 0.0),
}
viz.show(
    viz.images_figure(images, "Three properties of the nearest fragments"),
    "The turned mean face as a depth map, a map of normals in false colours, and shaded by one"
    " light.",
)

# %% appearance-text [markdown]
# ## 7. Make them all different
#
# The network must learn shape. If all rendered faces had the same skin, the same light and a black background, it would learn to rely on these, and fail on the first photograph. So everything but the geometry
# is drawn at random: skin, lips, brows, iris, hair, beard, lamps or light from all round and the shadows that they throw, background, clothes, things in front of the face, blur, noise, and the gain of each
# colour [channel](GLOSSARY.md#channel). Three pictures in four are meant to look like snapshots. The fourth is a poor one, with strong faults and the paper's gains (0.6 to 1.4).
#
# How often a thing is drawn stands in one dataclass, `vrn_lite.synth.appearance.Appearance`. With `make_pairs(..., appearance=Appearance(glasses=1.0))` everybody wears glasses, and nothing else changes.

# %% appearance
worn = photographed.with_photographs(face) if fetched() else face  # after: vrn-lite fetch skins
count = {"ci": 8, "cpu": 24, "gpu": 24}[profile]
preset = {"ci": "lite", "cpu": "colab", "gpu": "colab"}[profile]
# once before the clock starts: it loads the backgrounds
vrn.make_pairs(worn, preset, 1, torch.Generator())
began = time.perf_counter()
pairs = vrn.make_pairs(worn, preset, count, torch.Generator().manual_seed(2017))
seconds = time.perf_counter() - began
print(
    f"{count} pairs of image and volume in {seconds:.2f} s: {count / seconds:.0f} a second at"
    f" {pairs.images.shape[-1]} pixels"
)
print(
    "images",
    tuple(pairs.images.shape),
    "volumes",
    tuple(pairs.volumes.shape),
    "landmarks",
    tuple(pairs.landmarks.shape),
)
rows = [torch.cat(list(row), dim=-1) for row in pairs.images.split(8)]
sheet = torch.cat(rows, dim=-2)  # [3, rows * h, 8 * w]
viz.show(
    viz.images_figure({"drawn at random": sheet}, f"{count} faces"),
    f"A sheet of {count} small rendered faces with different skin, hair, light, pose and"
    " background.",
)

# %% appearance-after [markdown]
# Look for yourself: would you call these faces? Which of them could you not reconstruct? The paper's [augmentation](GLOSSARY.md#augmentation) is in there as well: turns in the image plane up to 45 degrees, shifts, scales, and one face in five mirrored.
#
# Photographed skins, eyes and hair make them more like people. They are not in the package; `vrn-lite fetch skins` fetches them (MakeHuman's assets, CC0), and then the cell above wears them.
# The shipped networks were trained on pictures like these 64, made of ICT-FaceKit's shapes by `vrn-lite preview --faces ict --skins --seed 3`:
#
# ![Sixty-four rendered heads in photographed skin, with many poses, expressions, haircuts, lights and backgrounds](images/people.jpg)
#
# <!-- teacher -->
# There is no right answer. Ask which pictures a *person* could not reconstruct: those in which the face is hidden or the light is gone. For these the network can only learn the average.

# %% pairs-text [markdown]
# ## 8. Aligned by construction
#
# This is the point of the whole exercise. Image and volume come from the same list of fragments, so they fit to the pixel. Below, the outline of the volume, seen along the rays, is drawn over
# the image, and the landmarks over both. The outline is that of the face without ears and neck: the solid of notebook 01, drawn back to its wall.
#
# The network's task is thus local: what is at this pixel, and how deep? The paper shows what happens without this alignment, in an [ablation](GLOSSARY.md#ablation) that a later notebook repeats.

# %% pairs
one = int(pairs.yaw.abs().argsort()[count // 2])  # a face of middling yaw
image, volume = pairs.images[one], pairs.volumes[one]
silhouette = volume.any(0)
inner = -torch.nn.functional.max_pool2d(-silhouette.float()[None], 3, 1, 1)[0] > 0
outlined = torch.where(
    (silhouette & ~inner)[None], torch.tensor([1.0, 1.0, 0.0])[:, None, None], image
)
depth = volume.int().argmax(0).float()
near, far = depth[silhouette].aminmax()
behind = torch.where(silhouette, (far - depth) / (far - near + 1e-6), torch.zeros(()))
figure = viz.images_figure(
    {"image": image, "outline of the volume": outlined, "depth of the volume": behind},
    "One pair",
    landmarks={"outline of the volume": pairs.landmarks[one]},
)
viz.show(
    figure,
    "A rendered face, the same face with the outline of its volume and its landmarks, and the depth"
    " at which the volume begins behind each pixel.",
)

# %% pairs-check
truth = pairs.mesh(one)
again = vrn.voxelize(truth.vertices, truth.solid_triangles(), tuple(volume.shape), 1.5)
changed = float((again ^ volume).float().mean())
print(
    f"voxelizing the true mesh once more gives the same volume: {changed:.5%} of the voxels differ"
)
assert changed < 1e-3

# %% sliders-text [markdown]
# ## 9. Play
#
# Sliders for identity modes, expressions and pose (in degrees). Let go of a slider, and wait a moment. Each change draws the face anew: its mesh, its image with the landmarks, its volume, and a cut through the volume at the height of the nose, seen from above, with the depth running down. *Look for:* what do mesh and image have that the volume does not?
#
# The sliders need a running kernel. Without one, or if nothing shows, use the cell below them: change a number and run it.

# %% sliders
widgets.face_explorer(face)

# %% sliders-twin
# modes, expressions, degrees
drawn = viz.drawn_face(
    face, {0: 2.0, 1: -1.0}, {"jawOpen": 0.4, "mouthSmile": 0.8}, yaw=30, pitch=5
)
viz.show(
    viz.face_figure(drawn, "One face, four times"),
    "A face with two identity modes, a half open jaw, a smile and a turn: its mesh, its image with"
    " landmarks, its volume, and a horizontal cut through it.",
)

# %% summary [markdown]
# ## Summary
#
# * A face is a mean and two weighted sums: who it is, and what it does.
# * The camera is orthographic and crops by the landmarks. Landmarks are vertices, so they come with every face for free, and in 3D.
# * The nearest fragment makes the image, the parity of all fragments makes the volume. They fit because they are the same fragments.
# * Only the shape must be learnable. All else is random.
#
# **Discuss:** The training images have random skin, light and background. What else would have to vary before you trusted such a network with everybody's face?
#
# **Next:** [03_hourglass.ipynb](03_hourglass.ipynb) looks at the network that turns an image into a volume.
#
# <!-- teacher -->
# On the question to discuss: Age, illness, make-up, face coverings, and above all who was scanned for the face model: its modes can only mix the people in it. This is a question of fairness as well as of accuracy.
