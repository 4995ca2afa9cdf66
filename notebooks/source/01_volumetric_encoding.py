# ---
# jupyter:
#   vrn_lite:
#     about: from a mesh to a volume and back; the paper's figure 3
# ---

# %% title [markdown]
# # Volumetric encoding
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/01_volumetric_encoding.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/01_volumetric_encoding.ipynb)
#
# **What you will learn.** How a mesh becomes a volume that a network can answer with, by counting how often a ray crosses the surface.
# Why one rule about edges decides whether that count can be trusted. How the volume becomes a mesh again, and what is lost on the way
# (the paper's figure 3). Why soft answers make smoother faces than hard ones, and what a grid that is too shallow cuts off.
#
# **You need** notebook 00 and some Python. **Time:** about 25 minutes of reading; the cells take less than a minute on a CPU or a GPU.
#
# The paper is Jackson et al., *Large Pose 3D Face Reconstruction from a Single Image via Direct Volumetric CNN Regression*, ICCV 2017
# ([arXiv:1703.07834](https://arxiv.org/abs/1703.07834)). This notebook follows its section 3.2.

# %% set-up
# Set-up: run me first. On Colab this installs the package (20 s); elsewhere it is there already.
import importlib.util
import os
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("vrn_lite") is None:
    pass  # %pip install -q "vrn_lite @ git+https://github.com/OWNER/vrn_lite"
# before PyTorch: on shared machines, threads must not spin while they wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import trimesh

import vrn_lite as vrn
from vrn_lite import exercises, viz
from vrn_lite.camera import crop_camera
from vrn_lite.frame import Grid
from vrn_lite.mesh import boundary_edges, signed_volume
from vrn_lite.raster import rasterize
from vrn_lite.samples import NO_JITTER
from vrn_lite.viz import widgets

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% face-text [markdown]
# ## 1. A face that is closed
#
# A network likes its answer on a grid: the same number of values for every face, in the same places. A mesh is no grid. The paper's way out is to ask,
# for each voxel of a fixed grid, one question: is its centre inside the head? To have an inside, the surface must be closed.
#
# The face below comes from a model that is built into the package (notebook 02 is about it). Its face patch is open: at the eyes, at the mouth, and all around
# its rim there are [boundary edges](GLOSSARY.md#boundary-edge). So the holes are closed, and the rim is drawn straight back to a flat wall behind the face. This is the wall
# that you saw in notebook 00: nobody measured it. It is the paper's convention, too.

# %% face
face = vrn.faces.procedural()
head = face.mesh()  # the mean face, closed, in the model frame: y up, z to the viewer
patch = face.triangles[face.patch]
solid = head.solid_triangles()
print(f"face patch: {len(patch):,} triangles, {len(boundary_edges(patch))} boundary edges")
print(f"solid:      {len(solid):,} triangles, {len(boundary_edges(solid))} boundary edges")
assert len(boundary_edges(solid)) == 0

# %% place-text [markdown]
# A camera places the head in the [**voxel frame**](GLOSSARY.md#voxel-frame): x to the right, y down, z away from the viewer. One unit is one pixel of the network's input.
# The camera is [orthographic](GLOSSARY.md#orthographic): all rays run along z. So one pixel of the image is one column of the volume. With perspective it would not be. The head
# is turned by 20 degrees, so that nothing lines up with the grid by accident.
#
# Point at the figure to wake it, turn it and move its slider to the closed solid. *Predict first:* how does the solid look from behind?

# %% place-predict [markdown]
# How does the closed solid look from behind?
#
# Like a flat wall in the outline of the face. Nothing of the back of the head is there: the rim of the face patch was drawn straight back.
#
# <!-- teacher -->
# This answers the question at the end of notebook 00: the front of the surface is modelled, the wall is put there by us. Ask who expected hair or a neck.


# %% place
grid = Grid(depth=200, height=192, width=192, depth_scale=1.5)  # this package's full-size grid
zero = torch.zeros(1)
# yaw, pitch and roll in degrees
camera = crop_camera(head.landmark_points()[None], zero + 20, zero, zero, face.interocular, grid)
points = camera(head.vertices[None])[0]  # [v, 3], voxel frame, pixels
parts = {
    "open face patch": {"vertices": points, "triangles": patch},
    "closed solid": {"vertices": points, "triangles": solid},
}
viz.show(
    viz.meshes_figure(parts, "A face, open and closed", slider="shown"),
    "The mean face as an open patch and, with the slider, as a closed solid with a flat back.",
)

# %% fragments-text [markdown]
# ## 2. One ray
#
# Send a ray through the centre of a pixel, away from the viewer. Each time it crosses the surface, it enters or leaves the head. We call such a crossing a [*fragment*](GLOSSARY.md#fragment). The
# package's [rasterizer](GLOSSARY.md#rasterization) lists all fragments of a mesh at once. Here are those of one pixel, on the cheek beside the nose.

# %% fragments
fragments = rasterize(points[None], solid, grid.height, grid.width)
nose = points[head.landmarks[33]]  # the base of the nose
row, column = int(nose[1]), int(nose[0]) + 16
here = (fragments.row == row) & (fragments.column == column)
depths = fragments.depth[here].sort().values
print(
    f"{len(fragments.depth):,} fragments in all; row {row}, column {column} has {len(depths)}, at"
    " depths",
    [round(float(z), 1) for z in depths],
    "px",
)

counts = (
    torch.zeros(grid.height * grid.width)
    .index_add_(0, fragments.pixel, torch.ones(len(fragments.pixel)))
    .view(grid.height, grid.width)
)
# every column of a closed mesh holds an even number of fragments
assert bool((counts % 2 == 0).all())
print("fragments in a column:", {int(k): int((counts == k).sum()) for k in counts.unique()})
viz.show(
    viz.images_figure(
        {f"dark 0, bright {int(counts.max())}": counts / counts.max()}, "Fragments of each pixel"
    ),
    "The number of surface crossings behind each pixel: none outside the face, two in most of it,"
    " more where parts lie behind each other.",
)

# %% fragments-after [markdown]
# Every count is even: what enters must leave. Most rays that meet the head enter it once. Along the lips some leave it and enter it again. The package checks this law before it fills a volume. A mesh with a hole breaks it, and is refused:

# %% open-mesh
try:
    vrn.voxelize(points, patch, grid.shape, grid.depth_scale)
except ValueError as error:
    print(error)


# %% ex1-text [markdown]
# ### Exercise 1: fill a column
#
# Slice d has its centre at depth **(d + 1/2) / depth_scale**. A centre lies inside if the ray has crossed the surface an *odd* number of times before it. Write the
# function. It gets the depths of the fragments (in pixels, in any order), the number of slices and the [depth scale](GLOSSARY.md#depth-scale) (slices per pixel), and gives one True or False per slice.


# %% ex1
def fill_column(depths, slices, depth_scale):
    ### BEGIN SOLUTION
    centres = (torch.arange(slices) + 0.5) / depth_scale
    return (depths[:, None] < centres).sum(0) % 2 == 1
    ### END SOLUTION


exercises.check("01.1", fill_column)

# %% parity-text [markdown]
# ## 3. All rays: parity
#
# `voxelize` does this for all columns at once. Each fragment toggles all voxels behind it. What is toggled an odd number of times is inside. This is
# the *exclusive or* along the depth axis, and it needs no test of any point against any triangle. The result holds True or False for each voxel: `volume[d, r, c]`.
#
# Is it right? The number of voxels inside, times the size of a voxel, must be the volume of the mesh. That one is known exactly: the [divergence theorem](GLOSSARY.md#divergence-theorem) gives it from the triangles alone.
# Then move through the slices. A hole in a slice is a hollow of the surface: an eye socket, or the gap between the lips.

# %% voxelize
volume = vrn.voxelize(points, solid, grid.shape, grid.depth_scale)
print("volume", tuple(volume.shape), volume.dtype, f"{volume.float().mean():.1%} inside")

d = torch.arange(grid.depth)
crossings = (depths[:, None] < (d + 0.5) / grid.depth_scale).sum(0)
assert torch.equal(volume[:, row, column], crossings % 2 == 1)  # the column of section 2
voxels, exact = float(volume.sum()) / grid.depth_scale, float(signed_volume(points, solid))
print(
    f"{voxels:,.0f} cubic pixels by counting voxels, {exact:,.0f} by the divergence theorem:"
    f" {voxels / exact - 1:+.3%}"
)
assert abs(voxels / exact - 1) < 0.002

# %% slices
viz.show(
    viz.slices_figure(
        volume,
        "A face, slice by slice",
        depth_scale=grid.depth_scale,
        slices={"ci": 16, "cpu": 64, "gpu": 64}[profile],
    ),
    "One depth slice of the volume; the slider moves from the tip of the nose to the wall behind"
    " the face.",
)

# %% rule-text [markdown]
# ## 4. The top-left rule
#
# A pixel centre can fall exactly on the edge between two triangles. If both count it, the ray seems to cross twice where it crosses once, and the whole column flips. If neither
# counts it, the same happens. On meshes with whole-number coordinates this is common.
#
# Below, a square of two triangles lies on an 8 x 8 raster. Its corners are pixel centres, so its diagonal and its sides pass
# through pixel centres. Three rules are compared: count points on any edge, count points on no edge, and the rule of this package.

# %% rule
corners = torch.tensor([[1.5, 1.5, 0.0], [6.5, 1.5, 0.0], [6.5, 6.5, 0.0], [1.5, 6.5, 0.0]])
square = torch.tensor([[0, 1, 2], [0, 2, 3]])


def coverage(rule):
    """How many triangles cover each pixel centre; `rule(dx, dy)`: is the edge the triangle's?"""
    y, x = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(8) + 0.5, indexing="ij")
    count = torch.zeros(8, 8)
    for triangle in corners[square][..., :2]:
        inside = torch.ones(8, 8, dtype=torch.bool)
        for a, b in zip(triangle, triangle.roll(-1, 0), strict=True):
            dx, dy = (b - a).tolist()
            edge = dx * (y - a[1]) - dy * (x - a[0])  # positive on the inner side, zero on the edge
            inside &= (edge > 0) | ((edge == 0) & rule(dx, dy))
        count += inside
    return count


ours = rasterize(corners[None], square, 8, 8)
top_left = torch.zeros(64).index_add_(0, ours.pixel, torch.ones(len(ours.pixel))).view(8, 8)
rules = {
    "all edges": coverage(lambda dx, dy: True),
    "no edges": coverage(lambda dx, dy: False),
    "top-left": top_left,
}
for name, count in rules.items():
    print(
        f"{name:10} pixels covered once: {int((count == 1).sum())}, twice:"
        f" {int((count == 2).sum())}"
    )
assert int((top_left == 1).sum()) == 25  # a square of 5 x 5 px covers 25 pixel centres, each once
assert top_left.max() == 1
viz.show(
    viz.images_figure(
        {name: count / 2 for name, count in rules.items()},
        "How often a pixel is covered: dark never, grey once, bright twice",
    ),
    "Three 8 by 8 rasters: with all edges the diagonal is covered twice, with no edges it is"
    " missed, with the top-left rule each pixel is covered once.",
)


# %% ex2-text [markdown]
# ### Exercise 2: the rule itself
#
# Walk around a triangle so that its inside is on your right on the screen (clockwise). An edge goes from one corner to the next by (dx, dy), and y points down. A pixel centre on an edge belongs to the triangle
# if the edge is a **top** edge (horizontal, with the triangle below it) or a **left** edge (not horizontal, upright or slanted, with the triangle to its right).
# The function gets the numbers dx and dy of an edge and says True or False. Which signs make a top edge, which a left one?


# %% ex2
def is_top_left(dx, dy):
    ### BEGIN SOLUTION
    top = dy == 0 and dx > 0
    left = dy < 0
    return top or left
    ### END SOLUTION


exercises.check("01.2", is_top_left)

# %% ex2-solution [markdown]
# Try it: `coverage(is_top_left)` gives the same picture as the package.

# %% surface-text [markdown]
# ## 5. Back to a mesh
#
# The surface is where the volume changes from 0 to 1: [marching cubes](GLOSSARY.md#marching-cubes) finds it. Its output is in indices (d, r, c). To get points (x, y, z), reverse the axes, add the
# half voxel, and divide by the depth scale. It sounds trivial. Forget the half voxel, and every reconstruction is shifted by half a pixel.
#
# A ball tells at once whether all of this is right. We know its centre and its radius. (Roughness, in the print, is the standard deviation of the distance from the centre.)

# %% ball
ball = trimesh.creation.icosphere(subdivisions=5, radius=45.0)
centre = torch.tensor([96.0, 90.0, 66.0])
sphere = torch.tensor(ball.vertices).float() + centre
bits = vrn.voxelize(sphere, torch.tensor(ball.faces), grid.shape, grid.depth_scale)
back = torch.tensor(vrn.isosurface(bits, depth_scale=grid.depth_scale).vertices)
radius = (back - centre).norm(dim=1)
print(
    f"radius {radius.mean():.3f} px (true 45), centre off by"
    f" {(back.mean(0) - centre).abs().max():.4f} px, roughness {radius.std():.3f} px"
)
assert abs(float(radius.mean()) - 45) < 0.05


# %% ex3-text [markdown]
# ### Exercise 3: from indices to points
#
# Write the way back for the grid's indices: `indices` is a tensor [n, 3] with columns (d, r, c). Give [n, 3] points (x, y, z) in pixels.


# %% ex3
def to_points(indices, depth_scale):
    ### BEGIN SOLUTION
    d, r, c = (indices + 0.5).T
    return torch.stack((c, r, d / depth_scale), dim=1)
    ### END SOLUTION


exercises.check("01.3", to_points)

# %% figure3-text [markdown]
# ## 6. What the grid costs: the paper's figure 3
#
# From mesh to volume and back, something is lost. The paper measures it as a normalised mean error ([NME](GLOSSARY.md#nme)): the mean distance between a [vertex](GLOSSARY.md#vertex) of the true face and the [corresponding](GLOSSARY.md#correspondence) point of the
# reconstructed surface, divided by the [distance between the outer corners of the eyes](GLOSSARY.md#interocular-distance). No network takes part: it is the error of the grid, and it is there before a network errs. (Soft values can lower it a little on coarse grids: notebook 09, section 6.)
#
# We repeat the measurement, on our own faces, for grids of growing size, and draw the paper's curve beside it. Both axes are logarithmic.

# %% figure3-paper
# Read off the paper's figure 3 (vector graphics): cube root of the number of voxels -> NME.
PAPER = {
    20: 0.0467,
    30: 0.0314,
    40: 0.0235,
    50: 0.0187,
    60: 0.0157,
    80: 0.0118,
    100: 0.0094,
    120: 0.0078,
    150: 0.0063,
    180: 0.0052,
    200: 0.0047,
}

# %% figure3
sides, faces = {
    "ci": ((20, 48), 1),
    "cpu": ((20, 30, 40, 60, 80, 100, 140, 192), 2),
    "gpu": ((20, 30, 40, 60, 80, 100, 140, 192), 8),
}[profile]
people = face.sample(torch.Generator().manual_seed(3), faces)
frontal = torch.zeros(faces)


def floor(side, depth_scale):
    """Cube root of the number of voxels; mean NME of voxelizing and coming back."""
    small = Grid(depth=round(side * 200 / 192), height=side, width=side, depth_scale=depth_scale)
    cameras = crop_camera(
        people.landmark_points(), frontal, frontal, frontal, face.interocular, small
    )
    placed = people.with_vertices(cameras(people.vertices))
    volumes = vrn.voxelize(placed.vertices, solid, small.shape, depth_scale)
    errors = [
        vrn.nme(vrn.isosurface(volume, depth_scale=depth_scale), placed[i])
        for i, volume in enumerate(volumes)
    ]
    return (small.depth * small.height * small.width) ** (1 / 3), sum(errors) / len(errors)


authors = dict(floor(side, 2.0) for side in sides)  # the proportions of the authors' grid
ours = dict(floor(side, 1.5) for side in sides)  # the proportions of this package's grid
print("n^3 voxels   depth scale 2.0   NME * n   depth scale 1.5   NME * n")
for size in ours:
    print(
        f"n = {size:5.1f}       {authors[size]:.4f}           {authors[size] * size:.2f}      "
        f" {ours[size]:.4f}           {ours[size] * size:.2f}"
    )
print("paper: NME * n =", [round(n * error, 2) for n, error in PAPER.items()])
assert list(ours.values()) == sorted(ours.values(), reverse=True)  # finer grids lose less

# %% figure3-plot
figure = viz.curves_figure(
    {
        "paper, figure 3": (list(PAPER), list(PAPER.values())),
        "this package, depth scale 2.0": (list(authors), list(authors.values())),
        "this package, depth scale 1.5": (list(ours), list(ours.values())),
    },
    "cube root of the number of voxels",
    "NME (share of the distance between the eyes)",
    "Discretisation error",
    log=True,
)
viz.show(
    figure,
    "The error falls in inverse proportion to the grid's size, in the paper from 0.047 at 20 to"
    f" 0.005 at 200, here to {min(ours.values()):.4f}.",
)

# %% figure3-after [markdown]
# All three curves fall like 1/n, n being the cube root of the number of voxels: NME * n is nearly the same at every size. Half the voxel, half the error.
# Ours lie about a quarter to a third above the paper's. Two things can explain that, and the paper settles neither: how large its faces were inside these grids, and how its [iso-surface](GLOSSARY.md#iso-surface) was sampled.
#
# The second one matters, because this measure pairs *vertices*. A true vertex looks for the nearest vertex of the surface, and that is a fraction of a voxel away even if the surface itself is perfect.
# At a depth scale of 1.5 voxels are longer than at 2.0, so the error is a little larger. In return the grid is deeper: section 8 shows what this buys.

# %% soft-text [markdown]
# ## 7. Soft against hard
#
# The true volume is hard: 0 or 1. Its surface has steps, like a staircase. A network answers with probabilities. Where it hesitates, between two voxels, the surface at probability one half can pass *between* their
# centres. So the soft answer is finer than its grid.
#
# The ball of section 5 shows it. Instead of asking whether the centre of a voxel is inside, ask *how much* of the voxel is inside: fill a grid of half the voxel size and
# average eight voxels into one.

# %% soft-ball
fine = vrn.voxelize(2 * sphere, torch.tensor(ball.faces), (400, 384, 384), grid.depth_scale)
share = torch.nn.functional.avg_pool3d(fine[None].float(), 2)[0]  # 0, 1/8, ... 1
smooth = torch.tensor(vrn.isosurface(share, depth_scale=grid.depth_scale).vertices)
roughness_soft = float((smooth - centre).norm(dim=1).std())
print(
    f"distance of the surface's vertices from the sphere: hard {radius.std():.3f} px, soft"
    f" {roughness_soft:.3f} px"
)
assert roughness_soft < float(radius.std()) / 2

# %% soft-network-text [markdown]
# We let the shipped network answer for a rendered face, and take two surfaces from the same answer: from the probabilities, and from the same probabilities rounded to 0 and 1. *Predict:* which one is smoother? Which one is nearer to the truth?
#
# The numbers are means over a few rendered faces. The pictures show the one with the smallest error. (Rendered faces are made difficult on purpose: notebook 02 says why.)

# %% soft-predict [markdown]
# Which surface is smoother, the one of the probabilities or the one of the rounded volume? Which one is nearer to the truth?
#
# The soft one is smoother: its vertices lie anywhere between voxel centres, those of the rounded volume only half-way between two of them. Nearer to the truth is neither by much. The network's own error is many times larger than a step of the staircase.
#
# <!-- teacher -->
# The cell asserts the first half and prints both halves. Expect most of the class to say "soft, soft". The stored results of notebook 09 (section 6) have the same comparison on 96 faces: there, too, the two NMEs differ by less than 0.002.


# %% soft
network = vrn.load("vrn")
small = network.preset.grid
pairs = vrn.make_pairs(
    face,
    network.preset,
    {"ci": 2, "cpu": 4, "gpu": 16}[profile],
    torch.Generator().manual_seed(5),
    poses=NO_JITTER,
)
with torch.inference_mode():
    chances = network(pairs.images).sigmoid()
soft = [vrn.isosurface(chance, depth_scale=small.depth_scale) for chance in chances]
hard = [vrn.isosurface(chance > 0.5, depth_scale=small.depth_scale) for chance in chances]
oracle = [vrn.isosurface(volume, depth_scale=small.depth_scale) for volume in pairs.volumes]


def roughness(surface):
    """Mean angle between neighbouring triangles, in degrees."""
    return float(surface.face_adjacency_angles.mean()) * 57.3


answers = {"soft": soft, "hard": hard, "true volume": oracle}
errors = {
    name: [
        vrn.nme(surface, pairs.mesh(i), depth_aligned=True) for i, surface in enumerate(surfaces)
    ]
    for name, surfaces in answers.items()
}
best = errors["soft"].index(min(errors["soft"]))  # the face to look at below
for name, surfaces in answers.items():
    rough = sum(map(roughness, surfaces)) / len(surfaces)
    print(
        f"{name:12} NME {sum(errors[name]) / len(surfaces):.4f}, mean angle between neighbouring"
        f" triangles {rough:.1f} degrees"
    )
assert sum(map(roughness, soft)) < sum(map(roughness, hard))

# %% soft-face
viz.show(
    viz.images_figure({"image": pairs.images[best]}, "The face of the next figures"),
    "A rendered face, as the network gets it.",
)

# %% soft-figure
shown = {
    "soft": {"vertices": soft[best].vertices, "triangles": soft[best].faces},
    "hard": {"vertices": hard[best].vertices, "triangles": hard[best].faces},
}
viz.show(
    viz.meshes_figure(
        shown, "The same answer, soft and hard", slider="surface", most_vertices=9000
    ),
    "Two surfaces of the same network answer: the soft one is smooth, the hard one has steps.",
)

# %% soft-after [markdown]
# The soft surface is smoother than the hard one, and smoother even than the surface of the true volume, which is hard. The NME differs little, and either can be ahead. Here the network's own error is much larger than a step of the staircase, and
# the measure looks at distances between vertices, not at how smooth the surface is between them. This is why you should look at a reconstruction, and not at its number only.
#
# (The network was trained on faces from another source than this one. The two put the depth origin in slightly different places, so the mean difference in z was removed before taking the NME: `depth_aligned=True`.)

# %% level-text [markdown]
# **The level.** One half is a choice. The slider draws the surface of the same soft answer at other probabilities. *Predict:* what happens to the nose at 0.9, and to the chin at 0.1? If the surface moves much, the network is unsure there; where it stays, it is sure.
#
# (The slider needs a running kernel. The figure below it has five levels made beforehand, and needs none.)

# %% level-predict [markdown]
# What happens to the nose at level 0.9, and to the chin at 0.1?
#
# What is above 0.9 is also above 0.5, and that is also above 0.1. So the solid can only shrink as the level rises, and only grow as it falls: the nose gets shorter or blunter at 0.9, the chin longer or broader at 0.1. By how much tells how unsure the network is there.
#
# <!-- teacher -->
# The argument needs no picture: the three solids are nested. Let the class find it before the slider is moved. If the surface hardly moves at all, the network is sure, which is not the same as right.


# %% level
widgets.iso_level(chances[best], small.depth_scale)

# %% level-twin
viz.show(
    viz.levels_figure(
        chances[best],
        "The same answer at five levels",
        levels=(0.1, 0.3, 0.5, 0.7, 0.9),
        depth_scale=small.depth_scale,
    ),
    "The surface of the network's answer at probability one half; the slider shows four other"
    " levels.",
)

# %% depth-text [markdown]
# ## 8. A grid that is too shallow
#
# The authors' grid has 200 slices at a depth scale of 2: 100 pixels deep. Our crop makes a face about 90 pixels large. Seen from the front, most heads fit. Seen from the side, the head is scaled up (its [profile](GLOSSARY.md#profile-view) is narrow), and its
# width now runs along the depth: it no longer fits. What is outside the grid is cut off, and the network is trained on the stump.
#
# We turn many random faces to each yaw, and count the vertices of the face that fall outside, at depth scale 2.0 (the authors') and 1.5 (ours; 133 pixels deep).

# %% depth
yaws = {"ci": (0, 45, 90), "cpu": (0, 15, 30, 45, 60, 75, 90), "gpu": (0, 15, 30, 45, 60, 75, 90)}[
    profile
]
crowd = face.sample(torch.Generator().manual_seed(5), {"ci": 16, "cpu": 64, "gpu": 256}[profile])
pitch = (15 * torch.randn(len(crowd.vertices), generator=torch.Generator().manual_seed(6))).clamp(
    -40, 40
)
outside, clipped = {}, {}
for depth_scale in (2.0, 1.5):
    box = Grid(200, 192, 192, depth_scale)
    shares = []
    for angle in yaws:
        turned = crop_camera(
            crowd.landmark_points(),
            torch.full_like(pitch, angle),
            pitch,
            0 * pitch,
            face.interocular,
            box,
        )(crowd.vertices)
        z = turned[:, crowd.face, 2]
        shares.append(((z < 0) | (z > box.depth / box.depth_scale)).float().mean(1))  # per sample
    name = f"depth scale {depth_scale} ({box.depth / depth_scale:.0f} px deep)"
    outside[name] = (yaws, [100 * float(share.mean()) for share in shares])
    clipped[name] = (yaws, [100 * float((share > 0.005).float().mean()) for share in shares])
    print(f"{name}, by yaw {yaws}:")
    print("    vertices outside (%):", [round(share, 2) for share in outside[name][1]])
    print(
        "    samples with more than 0.5 % of their vertices outside (%):",
        [round(share, 1) for share in clipped[name][1]],
    )

# %% depth-plot
deepest = {name: shares[-1] for name, (_, shares) in clipped.items()}
# most profiles are cut
assert max(deepest.values()) == deepest["depth scale 2.0 (100 px deep)"] > 50
figure = viz.curves_figure(
    clipped,
    "yaw (degrees)",
    "samples with more than 0.5 % of vertices outside (%)",
    "What the depth of the grid cuts off",
)
viz.show(
    figure,
    "The share of clipped samples by yaw: at depth scale 2.0 it grows with yaw to nearly all"
    " profiles, at 1.5 it stays small.",
)

# %% depth-slices
side = crop_camera(head.landmark_points()[None], zero + 90, zero, zero, face.interocular, grid)(
    head.vertices[None]
)[0]
shallow = vrn.voxelize(side, solid, (200, 192, 192), 2.0)
deep = vrn.voxelize(side, solid, (200, 192, 192), 1.5)
from_above = {"depth scale 2.0": shallow[:, 96].float(), "depth scale 1.5": deep[:, 96].float()}
print(f"volume at 1.5: {deep.sum() / 1.5:,.0f} cubic pixels, at 2.0: {shallow.sum() / 2.0:,.0f}")
figure = viz.images_figure(
    from_above, "A profile (yaw 90) in row 96, seen from above: depth runs down"
)
figure.update_layout(yaxis_title_text="slice d")
viz.show(
    figure,
    "A horizontal cut through the volume of a profile; at depth scale 2.0 the head runs into the"
    " far end of the grid, at 1.5 it has room.",
)

# %% depth-after [markdown]
# At depth scale 2.0 most profiles lose a part of the face, and some frontal faces lose a little as well. In the cut on the left, the head runs into the end of the grid, and the volume printed above it is
# smaller than the true one; on the right it has room.
# At 1.5 only a few samples are touched, and they lose very little: this is why the package trains on 1.5. The price is the small step between the two curves of section 6.

# %% summary [markdown]
# ## Summary
#
# * A closed mesh becomes a volume by counting: odd is inside. Image and volume come from the same list of fragments.
# * A pixel centre on a shared edge must count once. The [top-left rule](GLOSSARY.md#top-left-rule) does that, and an odd column proves that a mesh is open.
# * The way back is marching cubes, a half voxel and a depth scale. What is lost falls with the size of the grid, as in the paper's figure 3.
# * Probabilities carry more than bits: surfaces from soft answers are smoother than their grid.
# * A grid must be deep enough for the [pose](GLOSSARY.md#pose), not only for the face.
#
# **Discuss:** A volume says inside or outside. What of a face can it not say, however fine the grid?
#
# **Next:** [02_faces_and_images.ipynb](02_faces_and_images.ipynb). Where do thousands of faces with their true shape come from?
#
# <!-- teacher -->
# On the question to discuss: Anything thinner than a voxel (lids, lips, hair), anything without an inside (an open mouth has to be filled), and colour. Two surfaces in one voxel are one.
