# ---
# jupyter:
#   vrn_lite:
#     about: a network trained live from nothing in minutes, measured on unseen faces, beside the shipped one
# ---

# %% title [markdown]
# # Train VRN, live
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/04_train_vrn.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/04_train_vrn.ipynb)
#
# **What you will learn.** What the network is shown, and what it is asked for: one pair. What its [loss](GLOSSARY.md#loss) is, written by hand. Two recipes that move the weights, the
# paper's and a faster one. Then you train a network from nothing, watch faces appear, and measure it on faces it has never seen:
# beside answers that need no training at all, and beside the weights that come with this package.
#
# **You need** notebooks 01 to 03. **Time:** about 25 minutes of reading; the training takes 6 to 10 minutes on two CPU cores, less on a GPU (not measured).
#
# Cells that only measure and draw are folded: click on ··· to read one.
#
# The paper is Jackson et al., ICCV 2017 ([arXiv:1703.07834](https://arxiv.org/abs/1703.07834)). This notebook follows its sections 3.3 (network and loss) and 3.4 (training).

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
from vrn_lite import exercises, viz
from vrn_lite.networks.base import build
from vrn_lite.samples import MILD_JITTER, PAPER_JITTER
from vrn_lite.training.losses import voxel_loss
from vrn_lite.training.optim import OPTIMS
from vrn_lite.viz import widgets

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% pair-text [markdown]
# ## 1. One pair
#
# The network learns from pairs: an image, and the volume that it should answer with. They are made on the fly, a new [batch](GLOSSARY.md#batch) for each step, and no face comes twice. (The paper has 60,000 photographs, each with a face model
# fitted to it, and shows each of them 40 times before it slows down.)
#
# The faces come from ICT-FaceKit, if you have fetched it (`vrn-lite fetch ict`), otherwise from the model that is built in. The first line below decides; change it to compare.
# The second one sets how large everything is: size of grid and network (see notebook 03), number of training samples, samples per step.

# %% pair
face = vrn.faces.default()
source = face.name
preset, samples, batch = {
    "ci": ("tiny", 720, 4),
    "cpu": ("lite", 15_000, 16),
    "gpu": ("colab", 60_000, 32),
}[profile]
# how far the crops are turned, shifted and scaled
poses = {"ci": MILD_JITTER, "cpu": MILD_JITTER, "gpu": PAPER_JITTER}[profile]

grid = vrn.preset(preset).grid
pairs = vrn.make_pairs(face, preset, 8, torch.Generator().manual_seed(4), poses=poses)
print(
    f"{source} faces, preset {preset}: images {tuple(pairs.images.shape)}, volumes"
    f" {tuple(pairs.volumes.shape)}"
)
print(f"{float(pairs.volumes.float().mean()):.1%} of the voxels are inside a face")
seen = viz.shade_volume(pairs.volumes, grid.depth_scale)  # the volumes' surfaces, lit
viz.show(
    viz.image_grid(
        {
            "images": pairs.images[:4],
            "volumes": seen[:4],
            "more images": pairs.images[4:],
            "their volumes": seen[4:],
        },
        "Eight pairs",
    ),
    "Eight rendered faces, turned, shifted and tilted, each beside its volume, which is drawn as a"
    " lit surface.",
)


# %% loss-text [markdown]
# ## 2. The loss
#
# Every voxel is a question with two answers: inside or not. The network gives a number for it, the [*logit*](GLOSSARY.md#logit) x. The sigmoid makes it a probability, p = 1 / (1 + exp(-x)).
# The loss is the [cross-entropy](GLOSSARY.md#cross-entropy) of all these answers, and all voxels count alike (the paper's equation 1, with V for the true volume; the paper adds up, we take the mean, so that the number
# does not depend on the grid's size):
#
# $$\ell = -\frac{1}{N}\sum_{d, r, c}\; V_{drc}\,\log p_{drc} + (1 - V_{drc})\,\log(1 - p_{drc})$$
#
# In words: how surprised is the network by the truth? *Predict:* what is the loss of a network that knows nothing, and says 1/2 everywhere?

# %% loss-predict [markdown]
# What is the loss of a network that says 1/2 everywhere?
#
# log 2 = 0.693, whatever the truth is: each voxel costs -log(1/2).
#
# <!-- teacher -->
# A fresh network starts near it; the cell after exercise 1 prints log 2 beside its loss. Follow-up: can a network do worse? Without bound: it only has to be sure and wrong.


# %% ex1-text [markdown]
# ### Exercise 1: cross-entropy by hand
#
# `logits` is [d, h, w], `volume` is [d, h, w] with True inside. Give the mean over all voxels. (Here logits are small. Where they are not, log(0) may come up; the solution shows the way around it.)


# %% ex1
def cross_entropy(logits, volume):
    ### BEGIN SOLUTION
    p = torch.sigmoid(logits)
    return -torch.where(volume, torch.log(p), torch.log(1 - p)).mean()
    ### END SOLUTION


exercises.check("04.1", cross_entropy)

# %% ex1-solution [markdown]
# With logits of 100 and more, 1 - p becomes 0 and its logarithm minus infinity. log(1 - p) is `torch.nn.functional.logsigmoid(-logits)`, which stays finite.

# %% loss-package-text [markdown]
# The package computes the same number in another order. The network's head gives logits on a coarser grid (`Prediction.logits`), and the last step enlarges them (notebook 03). `voxel_loss` enlarges and compares
# slice by slice, so that the large logits never exist as a whole: same loss, less memory. Below, the formula by hand, PyTorch's own, and the package's, for a network without training.

# %% loss
network = build("vrn", preset, seed=0)  # fresh weights
with torch.no_grad():
    coarse = network.predict(pairs.images).logits
    logits = network(pairs.images)
p = logits.sigmoid()
by_hand = -torch.where(pairs.volumes, p.log(), (1 - p).log()).mean()
by_torch = torch.nn.functional.binary_cross_entropy_with_logits(logits, pairs.volumes.float())
by_package = voxel_loss(coarse, pairs.volumes)
print(f"coarse logits {tuple(coarse.shape)}, logits {tuple(logits.shape)}")
print(
    f"by hand {by_hand:.6f}, PyTorch {by_torch:.6f}, voxel_loss {by_package:.6f}; log 2 ="
    f" {torch.log(torch.tensor(2.0)):.6f}"
)
assert abs(float(by_hand - by_package)) < 1e-4

# %% recipes-text [markdown]
# ## 3. Two recipes
#
# A recipe says how the [gradient](GLOSSARY.md#gradient) moves the weights. The **paper's** (section 3.4): [RMSProp](GLOSSARY.md#rmsprop), [learning rate](GLOSSARY.md#learning-rate) 1e-4, after 40 [epochs](GLOSSARY.md#epoch) 1e-5. How many epochs came after that is not published; we assume 40, so the drop is half-way. It is made for millions of
# samples. **Ours** (all numbers of networks from scratch in this package) is for minutes: AdamW with a twenty times higher rate, which rises slowly at first (at full rate, fresh weights would be thrown far off) and falls
# towards the end (so that the last batches no longer shake what was learnt).
#
# A second thing is for minutes, too: the paper turns every crop by up to 45 degrees in the image plane, moves it by up to 15 px and scales it by up to 15 % (`PAPER_JITTER`). That makes a network ready for bad
# crops, and it makes the task harder. A few thousand steps are better spent on poses of the head: here, without a GPU, the crops move by up to 10 degrees, 5 px and 5 % (`MILD_JITTER`).

# %% recipes
for name, optim in OPTIMS.items():
    print(f"{name}: {optim}")
steps = samples // (batch or vrn.preset(preset).batch)
seen = [share / 100 for share in range(101)]
rates = {
    name: (
        [share * samples for share in seen],
        [optim.lr_at(round(share * steps), share) for share in seen],
    )
    for name, optim in OPTIMS.items()
}
figure = viz.curves_figure(rates, "samples", "learning rate", "The learning rate over a run")
viz.show(
    figure,
    "The paper's rate is constant at 0.0001 and drops to a tenth half-way; ours rises to 0.002,"
    " stays, and falls to almost zero.",
)


# %% ex2-text [markdown]
# ### Exercise 2: one step of RMSProp
#
# RMSProp remembers, for each weight, the mean square of its recent gradients: **s becomes 0.99 s + 0.01 g²**. Then the weight moves by the rate times **g / (√s + 1e-8)**, downhill. So all weights move at a similar pace,
# however large their gradients are. Give the new weight and the new mean square.


# %% ex2
def rmsprop(weight, gradient, mean_square, rate):
    ### BEGIN SOLUTION
    mean_square = 0.99 * mean_square + 0.01 * gradient**2
    return weight - rate * gradient / (mean_square.sqrt() + 1e-8), mean_square
    ### END SOLUTION


exercises.check("04.2", rmsprop)

# %% race-text [markdown]
# A small race: the same tiny network, the same faces in the same order, both recipes, for a moment only. A race this short says who starts faster, not who ends better.

# %% race
race = {}
for name in OPTIMS:
    records = list(
        vrn.train(
            build("vrn", "tiny", seed=0),
            face,
            samples={"ci": 160, "cpu": 1600, "gpu": 6400}[profile],
            batch=4,
            optim=name,
        )
    )
    race[name] = viz.downsample([r.samples for r in records], [r.loss for r in records], most=20)
    print(f"{name}: loss {race[name][1][0]:.3f} at first, {race[name][1][-1]:.3f} at the end")
viz.show(
    viz.curves_figure(
        race, "samples", "loss (mean cross-entropy per voxel)", "The first moments, preset tiny"
    ),
    "Loss over samples for both recipes; "
    + ", ".join(f"{name} ends at {loss[-1]:.2f}" for name, (_, loss) in race.items())
    + ".",
)


# %% bounds-text [markdown]
# ## 4. What can be had without learning
#
# Before training, know what a number is worth. The [**held-out**](GLOSSARY.md#held-out) faces are faces with [seeds](GLOSSARY.md#seed) that no training uses. *Intersection over union* (IoU) says how well two solids agree: the voxels inside both, over those inside at least one.
# Three answers that need no image at all:
#
# * the same probability everywhere: the share of voxels that are inside;
# * the same volume for everyone: the mean of many training volumes;
# * the same *face* for everyone, but put at the true pose, which the first two do not know (section 6).

# %% ex3-text [markdown]
# ### Exercise 3: intersection over union
#
# `chances` is [d, h, w] with probabilities, `volume` the truth, True inside. A voxel counts as inside where its probability is above 0.5.


# %% ex3
def overlap(chances, volume):
    ### BEGIN SOLUTION
    inside = chances > 0.5
    return (inside & volume).sum() / (inside | volume).sum()
    ### END SOLUTION


exercises.check("04.3", overlap)

# %% bounds
held_out = next(vrn.heldout(face, {"ci": 4, "cpu": 16, "gpu": 16}[profile]).batches(preset))
training = [
    vrn.make_pairs(face, preset, 16, torch.Generator().manual_seed(seed)).volumes
    for seed in range({"ci": 2, "cpu": 8, "gpu": 8}[profile])
]
mean_volume = torch.cat(training).float().mean(0).clamp(1e-3, 1 - 1e-3)
inside = mean_volume.mean()


def answer_without_image(chance):
    """Loss and IoU of one volume of probabilities, given as the answer to every held-out face."""
    loss = torch.nn.functional.binary_cross_entropy(
        chance.expand(held_out.volumes.shape), held_out.volumes.float()
    )
    # 0.4 suits the mean volume best
    solid = (chance >= min(0.4, float(chance.max()))).expand(held_out.volumes.shape)
    return float(loss), float(vrn.iou(solid, held_out.volumes).mean())


constant_loss, constant_iou = answer_without_image(inside.expand(grid.shape))
mean_loss, mean_iou = answer_without_image(mean_volume)
print(f"{len(held_out)} held-out faces")
print(
    f"same probability everywhere: loss {constant_loss:.3f}, IoU {constant_iou:.3f} (everything"
    " inside)"
)
print(f"mean volume:                 loss {mean_loss:.3f}, IoU {mean_iou:.3f}")

# %% bounds-after [markdown]
# The mean volume is a strong answer: all held-out faces are centred, and all heads are about as large. An IoU of 0.6 sounds like much, but it means that nothing was looked at.

# %% live-text [markdown]
# ## 5. Train
#
# `vrn.train` is a *generator*: it makes one step, hands you a record (loss, IoU, samples a second...), and waits. So the loop is yours. Here it stops a few times to look at the same four held-out faces, which are never trained on. Two pictures
# below the cell are redrawn while it runs: the curves, and the faces.

# %% look tags=["hide-input"]
# from one side to the other
spread = held_out.yaw.argsort()[torch.linspace(0, len(held_out) - 1, 4).round().long()]


@torch.inference_mode()
def answers(network, images):
    """Probabilities [b, d, h, w], on the CPU."""
    network.eval()
    return network(images.to(next(network.parameters()).device)).sigmoid().float().cpu()


def errors(chances):
    """Mean NME over the held-out faces; no surface, no number."""
    found = [
        vrn.nme(vrn.isosurface(chance, depth_scale=grid.depth_scale), held_out.mesh(i))
        for i, chance in enumerate(chances)
        if chance.max() > 0.5
    ]
    return sum(found) / len(found) if len(found) == len(chances) else float("nan")


def progress():
    """Curves of the records so far, with the held-out faces' numbers."""
    at, ious, nmes = zip(*scores, strict=True) if scores else ((), (), ())
    seen = [record.samples for record in history]
    panels = {
        "loss": {"training": viz.downsample(seen, [record.loss for record in history])},
        "IoU": {
            "training": viz.downsample(seen, [record.iou for record in history]),
            "held-out": (at, ious),
        },
        "NME": {"held-out": viz.downsample(at, nmes)},
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
network = build("vrn", preset, seed=0)
marks = [round(samples * share) for share in (0.02, 0.06, 0.15, 0.35, 0.65, 1)]
history, scores, shots, growing = [], [], {"image": held_out.images[spread]}, {}
curves, faces = widgets.Live(every=4), widgets.Live(every=0)
for record in vrn.train(network, face, samples=samples, batch=batch, seed=0, poses=poses):
    history.append(record)
    if record.samples >= marks[len(scores)]:
        chances = answers(network, held_out.images)
        scores.append(
            (
                record.samples,
                float(vrn.iou(chances > 0.5, held_out.volumes).mean()),
                errors(chances),
            )
        )
        growing[f"{record.samples:,}"] = chances[spread[1]].clone()
        shots[f"{record.samples:,}"] = viz.shade_volume(chances[spread], grid.depth_scale)
        faces.draw(
            lambda: viz.image_grid(shots, "Held-out faces, by samples seen"),
            "Held-out faces, reconstructed ever better.",
        )
    curves.draw(progress, "Loss, IoU and NME over samples.", now=record.samples >= samples)
print(
    f"{history[-1].seconds / 60:.1f} minutes, {history[-1].samples_per_second:.0f} samples a second"
)

# %% live-after [markdown]
# The first answers fill the whole picture, or are noise. Mind the NME there: if it is small, that is no success. The measure asks, for each true vertex, how near the surface is, and a surface that is everywhere is always near. The IoU is not fooled.
# Only once there is one solid do the two agree.
#
# What comes next? A blob in the middle: the mean volume. Then the blob turns with the head, then nose and chin show, at last the hollows of the eyes. Pose is most of the voxels, so it is learnt first; the details are
# few voxels, and come late. The figure below keeps the whole sequence, with the truth at its end.

# %% sequence
shots["truth"] = viz.shade_volume(held_out.volumes[spread], grid.depth_scale)
viz.show(
    viz.image_grid(shots, "Held-out faces, by samples seen"),
    "Four held-out faces in rows; from left to right the image, the answers after"
    f" {', '.join(f'{at:,}' for at, _, _ in scores)} samples, and the truth.",
)

# %% movie-text [markdown]
# The second of these faces again, as a surface. Press play, or move the slider; drag to look at it from the side, and the view stays while the pages change.

# %% movie
viz.show(
    viz.movie_figure(
        growing,
        "One face, in the course of the training",
        slider="samples",
        depth_scale=grid.depth_scale,
    ),
    f"A movie of the surface that the network sees in one picture, after {', '.join(growing)}"
    " samples: from a lump to a head.",
)

# %% better
_, final_iou, final_nme = scores[-1]
start, end = (sum(r.loss for r in part) / len(part) for part in (history[:10], history[-10:]))
print(
    f"training loss {start:.3f} at first, {end:.3f} at the end; same probability everywhere"
    f" {constant_loss:.3f}, mean volume {mean_loss:.3f}"
)
print(
    f"held-out IoU {final_iou:.3f}, NME {final_nme:.3f}; everything inside {constant_iou:.3f}, mean"
    f" volume {mean_iou:.3f}"
)
assert end < 0.7 * start  # the loss falls ...
assert end < constant_loss  # ... below that of an answer without a picture
assert final_iou > constant_iou

# %% better-after [markdown]
# The assertions compare with the weakest answer only, because this notebook is also tested with a network of 32 pixels and a few seconds of training, and that is not enough to beat the mean volume. Look at your own numbers: at 64 pixels
# and 15,000 samples the network should be above it.

# %% mesh
one = int(spread[1])
truth = held_out.mesh(one)
found = vrn.isosurface(chances[one], depth_scale=grid.depth_scale)
beside = torch.tensor([0.55 * grid.width, 0.0, 0.0])
used = truth.solid_triangles()
parts = {
    "predicted": {
        "vertices": torch.tensor(found.vertices).float() - beside / 2,
        "triangles": found.faces,
    },
    "truth": {
        "vertices": truth.vertices + beside / 2,
        "triangles": used,
        "colours": viz.COLOURS[5],
    },
}
viz.show(
    viz.meshes_figure(
        parts, "Predicted (left) and true (right, blue)", most_vertices=viz.MOST_VERTICES // 2
    ),
    f"Two surfaces side by side: the network's, with {len(found.vertices):,} vertices, and the true"
    " one.",
)

# %% evaluate-text [markdown]
# ## 6. How good is it?
#
# The package's test: held-out faces, the [oracle](GLOSSARY.md#oracle) (the true volume, so only the grid's error is left) and the mean face at the *true* pose and size. The mean face is given what no network knows, and is
# hard to beat in a few minutes. NME is the paper's measure (notebook 01); the IoU of the front half leaves out the flat wall, which is easy.

# %% evaluate
count = {"ci": 4, "cpu": 64, "gpu": 256}[profile]
shown = ["iou", "iou_front", "nme", "nme_depth_aligned"]  # the last: depth-aligned NME
testset = vrn.heldout(face, count)
mine = vrn.evaluate(network.eval(), testset)
mine.mean()[shown].round(4)

# %% shipped-text [markdown]
# ## 7. With more time
#
# The package ships weights with the same architecture at 128 pixels, trained for hours on ICT faces. The same held-out faces, drawn at its size. If your faces are the built-in ones, it meets another
# source than it was trained on; the two put the origin of depth in different places, so look at the [depth-aligned NME](GLOSSARY.md#depth-aligned-nme).

# %% shipped
shipped = vrn.load("vrn")
theirs = vrn.evaluate(shipped, testset)
print(
    f"`vrn` is yours ({preset}) in the first table, the shipped one ({shipped.preset.name}) below"
)
display(mine.of("vrn").mean()[shown].round(4), theirs.mean()[shown].round(4))

# %% shipped-figure
# the same faces at 128 pixels
large = next(vrn.heldout(face, len(held_out)).batches(shipped.preset))
large_scale = shipped.preset.grid.depth_scale
final = viz.shade_volume(chances[spread], grid.depth_scale)
columns = {
    "image": large.images[spread],
    "from scratch": torch.nn.functional.interpolate(
        final, size=large.images.shape[-2:], mode="bilinear"
    ),
    "shipped": viz.shade_volume(answers(shipped, large.images[spread]), large_scale),
    "truth": viz.shade_volume(large.volumes[spread], large_scale),
}
viz.show(
    viz.image_grid(columns, "Minutes against hours of training"),
    "Four held-out faces in rows: image, your network's answer, the shipped network's, and the"
    " truth.",
)


# %% yaw
def by_yaw(scores, predictor, score):
    """Middle of each bin of yaw, and the mean score in it."""
    bins = scores.by_yaw().loc[predictor, score]
    return [sum(map(float, name.split(" to "))) / 2 for name in bins.index], bins.tolist()


cases = {
    "from scratch": (mine, "vrn"),
    "shipped": (theirs, "vrn"),
    "mean face": (theirs, "mean face"),
    "oracle": (theirs, "oracle"),
}
panels = {
    title: {name: by_yaw(*case, score) for name, case in cases.items()}
    for title, score in (("IoU", "iou"), ("depth-aligned NME", "nme_depth_aligned"))
}
viz.show(
    viz.panels_figure(panels, "yaw (degrees)", f"{count} held-out faces by pose"),
    "IoU and NME by yaw for both networks, the mean face at the true pose and the oracle.",
)

# %% summary [markdown]
# ## Summary
#
# * A pair is an image and its volume, made on the fly. The loss is the mean cross-entropy of all voxels.
# * The paper's recipe is patient, ours is for minutes. Both are in `OPTIMS`, and `vrn.train(..., optim="paper")` takes the other one.
# * A number means little alone: everything inside, the mean volume, the mean face at the true pose and the oracle tell what it is worth.
# * Pose is learnt first, details last, and more time buys details.
#
# **Discuss:** You may have ten times the training time, or ten times the variety of faces. Which do you take, and how would you find out?
#
# **Next:** [05_train_multitask.ipynb](05_train_multitask.ipynb) asks the same network for the landmarks as well.
#
# <!-- teacher -->
# On the question to discuss: Look at training and held-out numbers: if they lie together, more time; if they part, more variety. Here faces are made anew for each step, so they hardly part, and the variety that lacks is real photographs.
