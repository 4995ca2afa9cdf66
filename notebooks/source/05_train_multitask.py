# ---
# jupyter:
#   vrn_lite:
#     about: one network asked for volume and landmarks; heat-maps and back
# ---

# %% title [markdown]
# # Train VRN-Multitask
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/05_train_multitask.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/05_train_multitask.ipynb)
#
# **What you will learn.** Why one network is asked two questions. How it forks. How 68 landmarks become 68 maps, and how a map gives its landmark back, finer than its own cells.
# How two losses become one. Then you train it, watch the landmarks find their places, and compare the shipped network with plain VRN on the same faces.
#
# **You need** notebook 04. **Time:** about 20 minutes of reading; the training takes 6 to 12 minutes on two CPU cores, less on a GPU (not measured).
#
# Cells that only measure and draw are folded: click on ··· to read one.
#
# The paper is Jackson et al., ICCV 2017 ([arXiv:1703.07834](https://arxiv.org/abs/1703.07834)). This notebook follows "VRN - Multitask" of its section 3.3.

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

import vrn_lite as vrn
from vrn_lite import exercises, landmarks, viz
from vrn_lite.evaluation.predictors import default_predictors
from vrn_lite.inference import landmarks_in, probabilities
from vrn_lite.metrics import landmark_nme
from vrn_lite.networks.base import build
from vrn_lite.samples import MILD_JITTER, PAPER_JITTER
from vrn_lite.training.losses import landmark_loss, voxel_loss
from vrn_lite.viz import widgets

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% why-text [markdown]
# ## 1. Two questions
#
# Where are the eyes? A network that can tell knows much about a face's pose. So the authors ask their network for both, the volume and the 68 landmarks, in the hope that what it learns for one helps the other. (The paper: to
# learn more reliable features, better suited to the two tasks.)
#
# The first hourglass is shared. Behind it the network forks: one hourglass for the volume, one for the landmarks.

# %% fork
face = vrn.faces.default()
source = face.name
preset, samples, batch = {
    "ci": ("tiny", 480, 4),
    "cpu": ("lite", 15_000, 16),
    "gpu": ("colab", 60_000, 32),
}[profile]
# notebook 04: less augmentation for minutes
poses = {"ci": MILD_JITTER, "cpu": MILD_JITTER, "gpu": PAPER_JITTER}[profile]

grid = vrn.preset(preset).grid
network = build("multitask", preset, seed=0)
boxes = {
    "stem": [(1, 0, 1.2, 0.8, "stem")],
    "shared hourglass": [(3, 0, 1.2, 0.8, "shared hourglass")],
    "hourglass for the volume": [(5, 1, 1.2, 0.8, "hourglass for the volume")],
    f"head: {grid.depth} slices": [(7, 1, 1.2, 0.8, "head")],
    "hourglass for the landmarks": [(5, -1, 1.2, 0.8, "hourglass for the landmarks")],
    "head: 68 heat-maps": [(7, -1, 1.2, 0.8, "head")],
}
lines = [[(0, 0), (4, 0)], [(4, 0), (4, 1), (8, 1)], [(4, 0), (4, -1), (8, -1)]]
viz.show(
    viz.boxes_figure(
        boxes,
        lines,
        "VRN-Multitask: one hourglass forks into two",
        x_title="from image to answers",
        y_title="",
    ),
    "A diagram: stem and hourglass are shared; then the way forks into an hourglass and a head for"
    " the volume, and the same for the landmarks.",
)

# %% sizes
pairs = vrn.make_pairs(face, preset, 8, torch.Generator().manual_seed(5))
with torch.no_grad():
    volume, maps, *_ = network.predict(pairs.images)
print(
    f"images {tuple(pairs.images.shape)} -> volume logits {tuple(volume.shape)}, heat-map logits"
    f" {tuple(maps.shape)}"
)


def size(part):
    """How many weights a part of the network has."""
    return sum(weight.numel() for weight in part.parameters())


for name, part in {
    "stem": network.stem,
    "shared hourglass": network.shared,
    **network.fork,
}.items():
    print(f"{name:17} {size(part):9,} parameters")
print(f"in all            {size(network):9,}; plain VRN has {size(build('vrn', preset)):,}")

# %% maps-text [markdown]
# ## 2. A landmark as a map
#
# Coordinates could be asked for directly: 136 numbers. Maps work better with convolutions: for each landmark, one map with the probability that it is in this cell. The target is a small Gaussian around the landmark (sigma: one cell), scaled
# so that all its cells add up to 1. A map has the hourglass's resolution, a cell is two or four pixels wide.

# %% maps
cell = network.preset.network.stem  # pixels per cell
height, width = maps.shape[-2:]
targets = landmarks.heatmaps(pairs.landmarks / cell, height, width)  # [b, 68, h / cell, w / cell]
assert torch.allclose(targets.sum((-2, -1)), torch.ones(8, 68), atol=1e-4)
# at image size
nose, every = (
    seen.repeat_interleave(cell, -1).repeat_interleave(cell, -2)
    for seen in (targets[0, 30], targets[0].amax(0))
)
figure = viz.images_figure(
    {
        "image": pairs.images[0],
        "the tip of the nose (30)": nose / nose.max(),
        "all 68 maps": every / every.max(),
    },
    f"A cell is {cell} pixels wide",
    landmarks={"image": pairs.landmarks[0]},
)
viz.show(
    figure,
    "A rendered face with its 68 landmarks, the heat-map of the tip of its nose, and all heat-maps"
    " in one picture.",
)

# %% decode-text [markdown]
# And back? The brightest cell is off by up to half a cell in each direction, so by up to 0.71 of a cell in the plane. The mean over all cells, each weighted by its probability, falls *between* them. *Predict:* how much more accurate is it?

# %% decode-predict [markdown]
# How much more accurate is the weighted mean than the brightest cell?
#
# The brightest cell is off by 0.38 of a cell in the mean, and by up to 0.71 (half a diagonal). The weighted mean of a perfect map is exact but for rounding: less than 0.01 px.
#
# <!-- teacher -->
# 0.38 is the mean distance of a random point of a unit square from its centre. The bound of 0.01 px is asserted. Ask what happens at the border of the map: the Gaussian is cut, and the mean is pulled inwards (hence `inner`).


# %% decode
logits = targets.clamp(min=1e-30).log()  # a network that answers perfectly
# the whole Gaussian is on the map
inner = (
    (pairs.landmarks[..., :2] > 5 * cell) & (pairs.landmarks[..., :2] < grid.width - 5 * cell)
).all(-1)
best = logits.flatten(-2).argmax(-1)
peaks = torch.stack((best % width, best // width), -1) + 0.5
for name, found in {"brightest cell": peaks, "weighted mean": landmarks.decode(logits)}.items():
    off = (cell * found - pairs.landmarks[..., :2]).norm(dim=-1)[inner]
    print(f"{name}: {off.mean():.4f} px off on average, {off.max():.4f} px at most")
assert off.max() < 0.01


# %% ex1-text [markdown]
# ### Exercise 1: from a map to a point
#
# `logits` is one map [h, w]. A softmax over *all* its cells gives probabilities. Cell (r, c) has its centre at x = c + 1/2, y = r + 1/2. Give the mean (x, y), in cells.


# %% ex1
def decode(logits):
    ### BEGIN SOLUTION
    height, width = logits.shape
    share = logits.flatten().softmax(0).view(height, width)
    x = (share.sum(0) * (torch.arange(width) + 0.5)).sum()
    y = (share.sum(1) * (torch.arange(height) + 0.5)).sum()
    return torch.stack((x, y))
    ### END SOLUTION


exercises.check("05.1", decode)


# %% loss-text [markdown]
# ## 3. Two losses, one sum
#
# The volume's loss is that of notebook 04. For the landmarks, each map is one question with many answers (in which cell?), so the loss compares two distributions: the [Kullback-Leibler divergence](GLOSSARY.md#kullback-leibler-divergence) of the network's map q from the target t,
#
# $$D = \sum_\text{cells} t\,(\log t - \log q)$$
#
# averaged over the 68 maps. It is 0 if, and only if, they are equal. (This loss of the maps is this package's choice, not the paper's.)

# %% ex2-text [markdown]
# ### Exercise 2: the divergence of a map
#
# `logits` is one map [h, w] of the network, and `truth` is the target [h, w], positive everywhere, with sum 1. Give D.


# %% ex2
def divergence(logits, truth):
    ### BEGIN SOLUTION
    log_q = logits.flatten().log_softmax(0).view(truth.shape)
    return (truth * (truth.log() - log_q)).sum()
    ### END SOLUTION


exercises.check("05.2", divergence)

# %% equal-text [markdown]
# The two losses are added, with equal weight. Does equal weight mean equal influence? What counts for the shared hourglass is the gradient that each task sends back to it.

# %% equal
network.train()
volume, maps, *_ = network.predict(pairs.images)
losses = {
    "volume": voxel_loss(volume, pairs.volumes),
    "landmarks": landmark_loss(maps, pairs.landmarks / cell),
}
for name, loss in losses.items():
    gradients = torch.autograd.grad(loss, list(network.shared.parameters()), retain_graph=True)
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    print(
        f"{name:10} loss {float(loss.detach()):.3f}, gradient of the shared hourglass"
        f" {float(norm):.4f}"
    )
del volume, maps, losses, loss, gradients  # and with them every activation that they were made from

# %% equal-after [markdown]
# With fresh weights the two losses differ in size, and so do their gradients: look at the two lines above. Equal weights are the authors' choice, and this package keeps it.
#
# <!-- teacher -->
# Equal weights are not equal influence, and the ratio changes as the losses fall. Follow-up: scale one loss by ten, and look at both gradients again.

# %% live-text [markdown]
# ## 4. Train
#
# The loop is that of notebook 04. A record now has a landmark error as well: the mean distance in the image over the distance of the outer eye corners in space. Watch the landmarks: they start in the middle of the picture, all 68 together.

# %% look tags=["hide-input"]
held_out = next(vrn.heldout(face, {"ci": 4, "cpu": 16, "gpu": 16}[profile]).batches(preset))
# from one side to the other
spread = held_out.yaw.argsort()[torch.linspace(0, len(held_out) - 1, 4).round().long()]


def answers(network, images):
    """Probabilities [b, d, h, w] and landmarks [b, 68, 2] in pixels, on the CPU."""
    network.eval()
    return (
        probabilities(network, images, test_time_augmentation=False).cpu(),
        landmarks_in(network, images, test_time_augmentation=False).float().cpu(),
    )


def progress():
    """Curves of the records so far, with the held-out faces' numbers."""
    at, ious, off = zip(*scores, strict=True) if scores else ((), (), ())
    seen = [record.samples for record in history]
    panels = {
        "loss (sum of both)": {
            "training": viz.downsample(seen, [record.loss for record in history])
        },
        "IoU": {
            "training": viz.downsample(seen, [record.iou for record in history]),
            "held-out": (at, ious),
        },
        "landmark NME": {
            "training": viz.downsample(seen, [record.landmark_nme for record in history]),
            "held-out": (at, off),
        },
    }
    last = history[-1]
    left = (samples - last.samples) / last.samples_per_second
    return viz.panels_figure(
        panels,
        "samples",
        f"{last.samples:,} of {samples:,} samples, {last.samples_per_second:.0f} a second,"
        f" {max(left, 0):.0f} s left",
    )


# %% live
network = build("multitask", preset, seed=0)
marks = [round(samples * share) for share in (0.02, 0.06, 0.15, 0.35, 0.65, 1)]
history, scores, points, solids = [], [], {}, {}
curves, faces = widgets.Live(every=4), widgets.Live(every=0)


def sheet(truth=False):
    """The faces with the landmarks found so far."""
    shown = points | ({"truth": held_out.landmarks[spread]} if truth else {})
    return viz.image_grid(
        dict.fromkeys(shown, held_out.images[spread]), "Landmarks by samples seen", landmarks=shown
    )


for record in vrn.train(network, face, samples=samples, batch=batch, seed=0, poses=poses):
    history.append(record)
    if record.samples >= marks[len(scores)]:
        chances, found = answers(network, held_out.images)
        off = float(landmark_nme(found, held_out.landmarks).mean())
        scores.append((record.samples, float(vrn.iou(chances > 0.5, held_out.volumes).mean()), off))
        points[f"{record.samples:,}"] = found[spread]
        solids[f"{record.samples:,}"] = viz.shade_volume(chances[spread], grid.depth_scale)
        faces.draw(sheet, "Held-out faces, with landmarks that find their places.")
    curves.draw(
        progress, "Loss, IoU and landmark error over samples.", now=record.samples >= samples
    )
print(
    f"{history[-1].seconds / 60:.1f} minutes, {history[-1].samples_per_second:.0f} samples a second"
)

# %% check
start, end = (sum(r.loss for r in part) / len(part) for part in (history[:10], history[-10:]))
print(f"training loss {start:.3f} at first, {end:.3f} at the end")
print(
    f"held-out: IoU {scores[-1][1]:.3f}, landmark NME {scores[0][2]:.3f} at the first look,"
    f" {scores[-1][2]:.3f} at the last"
)
assert end < start  # the loss falls
viz.show(
    sheet(truth=True),
    "Four held-out faces in rows with the landmarks that the network finds after"
    f" {', '.join(points)} samples, and the true ones.",
)

# %% solids
solids = {
    "image": held_out.images[spread],
    **solids,
    "truth": viz.shade_volume(held_out.volumes[spread], grid.depth_scale),
}
viz.show(
    viz.image_grid(solids, "The other task: volumes by samples seen"),
    "The same four held-out faces with the volumes that the network answers, by samples seen, and"
    " the true ones.",
)

# %% both-text [markdown]
# Compare the two sheets. Which task is ahead? Do the landmarks lie on the surface's own eyes, nose and chin, or does each task have its own opinion?
#
# <!-- teacher -->
# Nothing in the loss makes the two agree; only the shared hourglass does. So the landmarks may lie a little beside the surface's own features, above all early in the training. It is one argument for VRN-Guided.

# %% shipped-text [markdown]
# ## 5. Does it help?
#
# The shipped networks `multitask` and `vrn`, both at 128 pixels, on the same held-out faces. In the paper, Multitask is *not* better than plain VRN on photographs (NME 0.0698 against 0.0676 on [AFLW2000-3D](GLOSSARY.md#aflw2000-3d), 0.0625 against 0.0600 on BU-4DFE), but it is on
# Florence (0.0542 against 0.0568). What do you find? (On the built-in faces, look at the depth-aligned NME: the shipped networks were trained on ICT faces.)

# %% shipped
count = {"ci": 4, "cpu": 64, "gpu": 256}[profile]
shipped = {name: vrn.load(name) for name in ("multitask", "vrn")}
testset = vrn.heldout(face, count)
scores_of_all = vrn.evaluate(default_predictors(shipped, testset), testset)
multitask, vrn_alone = (scores_of_all.of(name).frame.nme.to_numpy() for name in shipped)
print(f"multitask has the smaller NME on {(multitask < vrn_alone).sum()} of {count} faces")
# the last column: depth-aligned
scores_of_all.mean()[["iou", "iou_front", "nme", "nme_depth_aligned"]].round(4)

# %% shipped-figure
shipped_preset = shipped["multitask"].preset
# the same faces at the shipped networks' size
large = next(vrn.heldout(face, len(held_out)).batches(shipped_preset))
found = landmarks_in(shipped["multitask"], large.images, test_time_augmentation=False)
chances = probabilities(shipped["multitask"], large.images[spread], test_time_augmentation=False)
off = landmark_nme(found, large.landmarks)
print(
    f"landmark NME of the shipped network: {off.mean():.4f}; yours, at {grid.width} pixels:"
    f" {scores[-1][2]:.4f}"
)
plain = probabilities(shipped["vrn"], large.images[spread], test_time_augmentation=False)
depth_scale = shipped_preset.grid.depth_scale
columns = {
    "multitask:<br>landmarks": large.images[spread],
    "multitask:<br>volume": viz.shade_volume(chances, depth_scale),
    "vrn": viz.shade_volume(plain, depth_scale),
    "truth": viz.shade_volume(large.volumes[spread], depth_scale),
    "true<br>landmarks": large.images[spread],
}
viz.show(
    viz.image_grid(
        columns,
        "Shipped weights on held-out faces",
        landmarks={
            "multitask:<br>landmarks": found[spread],
            "true<br>landmarks": large.landmarks[spread],
        },
    ),
    "Four held-out faces in rows: landmarks and volume of the shipped VRN-Multitask, the volume of"
    " plain VRN, the true volume, and the true landmarks.",
)

# %% summary [markdown]
# ## Summary
#
# * VRN-Multitask forks: one shared hourglass, then one hourglass for the volume and one for the landmarks. The losses are added.
# * A landmark is asked for as a map. The weighted mean of the map gives it back, finer than the map's cells.
# * The two answers come from the same features, but nothing makes them agree. Feeding the landmarks *into* the volume's network would.
#
# **Discuss:** When should two tasks share a network, and when not?
#
# **Next:** [06_train_guided.ipynb](06_train_guided.ipynb) feeds the landmarks into the network of the volume.
#
# <!-- teacher -->
# On the question to discuss: When what helps one helps the other, and when their gradients do not pull in opposite directions; equal weights are one choice. Sharing also saves time in use. Ask for an experiment that would tell (same budget, several seeds, one task each).
