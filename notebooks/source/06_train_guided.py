# ---
# jupyter:
#   vrn_lite:
#     about: "landmarks as input: true, found, wrong and missing; a photograph at the end"
# ---

# %% title [markdown]
# # Train VRN-Guided
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/06_train_guided.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/06_train_guided.ipynb)
#
# **What you will learn.** How landmarks guide the volume: 68 more channels in the network's input. Why they are drawn anew, from true points in training and from found points at test time. Then you train it, and
# put it to the test with landmarks that are true, found, wrong by a few pixels, or missing. At the end it reconstructs a photograph.
#
# **You need** notebooks 04 and 05. **Time:** about 25 minutes of reading; the training takes 6 to 10 minutes on two CPU cores, less on a GPU (not measured); the tests after it two or three more.
#
# Cells that only measure and draw are folded: click on ··· to read one.
#
# The paper is Jackson et al., ICCV 2017 ([arXiv:1703.07834](https://arxiv.org/abs/1703.07834)). This notebook follows "VRN - Guided" of its section 3.3.

# %% set-up
# Set-up: run me first. On Colab this installs the package (20 s); elsewhere it is there already.
import importlib.util
import os
import sys
from dataclasses import replace

if "google.colab" in sys.modules and importlib.util.find_spec("vrn_lite") is None:
    pass  # %pip install -q "vrn_lite @ git+https://github.com/OWNER/vrn_lite"
# before PyTorch: on shared machines, threads must not spin while they wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import skimage.data
import torch

import vrn_lite as vrn
from vrn_lite import exercises, landmarks, viz
from vrn_lite.evaluation.predictors import default_predictors
from vrn_lite.inference import probabilities
from vrn_lite.metrics import landmark_nme
from vrn_lite.networks.base import build
from vrn_lite.samples import MILD_JITTER, PAPER_JITTER
from vrn_lite.viz import widgets

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% why-text [markdown]
# ## 1. Landmarks go in
#
# VRN-Multitask gives landmarks and volume side by side, and nothing makes them agree (notebook 05). VRN-Guided solves the easier task first, and shows the result to the network for the harder one. The input gets 68 more channels, one for each landmark,
# each empty but for a small Gaussian (sigma: one pixel of the network's own input, at every preset) where the landmark is. The rest of the network is plain VRN.
#
# Below: one input in all its 71 channels. The landmark channels are so empty that we add the 68 up to look at them.

# %% channels
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
network = build("guided", preset, seed=0)
pairs = vrn.make_pairs(face, preset, 8, torch.Generator().manual_seed(6))
inputs = network.inputs(pairs.images, pairs.landmarks).float()  # [b, 3 + 68, h, w]
print(
    f"images {tuple(pairs.images.shape)}, inputs {tuple(inputs.shape)}; first convolution"
    f" {tuple(network.stem.layers[0].weight.shape)}"
)
chin = pairs.landmarks[0, 8]
print(
    f"channel of landmark 8 (chin): brightest {inputs[0, 3 + 8].max():.2f} near x = {chin[0]:.1f},"
    f" y = {chin[1]:.1f} px"
)
viz.show(
    viz.images_figure(
        {
            "channels 0 to 2": inputs[0, :3],
            "channel 11: the chin": inputs[0, 3 + 8],
            "channels 3 to 70": inputs[0, 3:].amax(0),
        },
        "What VRN-Guided is given",
        landmarks={"channels 0 to 2": pairs.landmarks[0]},
    ),
    "A rendered face with its landmarks, the channel of its chin with one small bright spot, and"
    " all 68 landmark channels in one picture.",
)


# %% ex1-text [markdown]
# ### Exercise 1: draw a landmark
#
# Give a map [height, width] with a Gaussian of height 1 around the point (x, y), in pixels: **exp(-½ (distance / sigma)²)**, the distance being that of the pixel's centre to the point. Pixel (r, c) has its centre at (c + 1/2, r + 1/2).


# %% ex1
def draw(x, y, height, width, sigma):
    ### BEGIN SOLUTION
    dx = torch.arange(width) + 0.5 - x
    dy = torch.arange(height) + 0.5 - y
    squared = dy[:, None] ** 2 + dx[None, :] ** 2
    return torch.exp(-0.5 * squared / sigma**2)
    ### END SOLUTION


exercises.check("06.1", draw)

# %% redraw-text [markdown]
# ## 2. Why drawn anew
#
# At test time a [*detector*](GLOSSARY.md#detector) finds the landmarks: a stacked hourglass that gives [heat-maps](GLOSSARY.md#heat-map), as in notebook 05. Why not feed its heat-maps in directly? Because they look different: coarser, and with shapes that tell how sure the detector is. A network trained on clean Gaussians has never seen that.
# So the heat-maps are decoded to points, and the points are drawn as the same clean Gaussians as in training. Input in training and input at test time look alike; only the *places* can be wrong.
#
# The package's detector works on the very same held-out faces, drawn at its own size.

# %% detector
detector = vrn.load("landmarks")
held_out = next(vrn.heldout(face, {"ci": 4, "cpu": 16, "gpu": 16}[profile]).batches(preset))
# the same faces at the detector's size
large = next(vrn.heldout(face, len(held_out)).batches(detector.preset))
# the pictures are enough: sixteen volumes take 32 MB
large = replace(large, volumes=large.volumes[:0].clone())
ratio = grid.width / detector.preset.grid.width
# the same, in other pixels
assert torch.allclose(ratio * large.landmarks, held_out.landmarks, atol=0.01)
with torch.inference_mode():
    maps = detector(large.images).float()
    detected = ratio * detector.landmarks(large.images).float()  # in our network's pixels
off = landmark_nme(detected, held_out.landmarks)
print(
    f"detector at {detector.preset.grid.width} px: landmark NME {off.mean():.4f}, worst face"
    f" {off.max():.4f}"
)
one = int(off.argsort()[len(off) // 2])  # a face of middling error
shares = maps[one].flatten(-2).softmax(-1).view(maps[one].shape)
looks = torch.nn.functional.interpolate(
    (shares.amax(0) / shares.max())[None, None], size=(grid.height, grid.width)
)[0, 0]
redrawn = landmarks.gaussians(detected[one], grid.height, grid.width)
viz.show(
    viz.images_figure(
        {
            "found landmarks": held_out.images[one],
            "the detector's heat-maps": looks,
            "drawn anew": redrawn.amax(0),
        },
        f"From heat-maps to Gaussians (landmark NME of this face: {off[one]:.3f})",
        landmarks={"found landmarks": detected[one]},
    ),
    "A held-out face with the landmarks that the detector finds, its heat-maps in one picture, and"
    " the clean Gaussians drawn from them.",
)


# %% ex2-text [markdown]
# ### Exercise 2: landmark error
#
# `predicted` is [68, 2], `truth` is [68, 3], in pixels. The landmark NME is the mean distance *in the image*, over the distance of the outer eye corners *in space* (landmarks 37 and 46, counted from 1).


# %% ex2
def landmark_error(predicted, truth):
    ### BEGIN SOLUTION
    distances = (predicted - truth[:, :2]).norm(dim=1)
    return distances.mean() / (truth[36] - truth[45]).norm()
    ### END SOLUTION


exercises.check("06.2", landmark_error)

# %% ex2-solution [markdown]
# In the image, the eyes of a profile are close together, and a small error would look huge. In space their distance is the same at every pose.

# %% live-text [markdown]
# ## 3. Train with true landmarks
#
# The faces are drawn, so the true landmarks are known exactly, and the training uses them. The loop is that of notebook 04. At each look, the held-out faces are reconstructed twice: with true landmarks, and with those of the detector.

# %% look tags=["hide-input"]
# from one side to the other
spread = held_out.yaw.argsort()[torch.linspace(0, len(held_out) - 1, 4).round().long()]


def answers(network, images, points):
    """Probabilities [b, d, h, w], on the CPU; the network sees a few images at a time."""
    return probabilities(
        network.eval(), images, test_time_augmentation=False, landmarks=points
    ).cpu()


def overlap(chances, pairs=held_out):
    """Mean IoU over the faces."""
    return float(vrn.iou(chances > 0.5, pairs.volumes).mean())


def progress():
    """Curves of the records so far, with the held-out faces' numbers."""
    at, true, found = zip(*scores, strict=True) if scores else ((), (), ())
    seen = [record.samples for record in history]
    ious = {"training": viz.downsample(seen, [record.iou for record in history])}
    panels = {
        "loss": {"training": viz.downsample(seen, [record.loss for record in history])},
        "IoU": ious | {"held-out, true landmarks": (at, true), "held-out, detected": (at, found)},
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
marks = [round(samples * share) for share in (0.02, 0.06, 0.15, 0.35, 0.65, 1)]
history, scores, shots = [], [], {"image": held_out.images[spread]}
curves, faces = widgets.Live(every=4), widgets.Live(every=0)
for record in vrn.train(network, face, samples=samples, batch=batch, seed=0, poses=poses):
    history.append(record)
    if record.samples >= marks[len(scores)]:
        chances = answers(network, held_out.images, held_out.landmarks)
        scores.append(
            (record.samples, overlap(chances), overlap(answers(network, held_out.images, detected)))
        )
        shots[f"{record.samples:,}"] = viz.shade_volume(chances[spread], grid.depth_scale)
        faces.draw(
            lambda: viz.image_grid(shots, "Held-out faces with true landmarks"),
            "Held-out faces, reconstructed ever better.",
        )
    curves.draw(progress, "Loss and IoU over samples.", now=record.samples >= samples)
print(
    f"{history[-1].seconds / 60:.1f} minutes, {history[-1].samples_per_second:.0f} samples a second"
)

# %% sequence
start, end = (sum(r.loss for r in part) / len(part) for part in (history[:10], history[-10:]))
print(
    f"training loss {start:.3f} at first, {end:.3f} at the end; held-out IoU {scores[-1][1]:.3f}"
    f" with true, {scores[-1][2]:.3f} with detected landmarks"
)
assert end < start  # the loss falls
shots["truth"] = viz.shade_volume(held_out.volumes[spread], grid.depth_scale)
viz.show(
    viz.image_grid(shots, "Held-out faces with true landmarks, by samples seen"),
    "Four held-out faces in rows; from left to right the image, the answers by samples seen, and"
    " the truth.",
)

# %% movie
viz.show(
    faces.movie("The training as a movie: play it, or move the slider"),
    "The pictures that were drawn during the training, one after the other: the answers to four"
    " held-out faces grow from a blob to faces.",
)

# %% live-after [markdown]
# Compare with your run of notebook 04: how many samples did plain VRN need for the same IoU? The landmarks tell pose and size from the first step on, and these are most of the voxels.
#
# <!-- teacher -->
# Read it off the two figures: take the held-out IoU that notebook 04 ended with, and find the number of samples at which the curve with true landmarks passes it.

# %% obey-text [markdown]
# ## 4. Does it look at the picture or at the landmarks?
#
# Both say where the face is. What if they contradict each other? We move all landmarks to the right by an eighth of the image, and leave the image alone. Then we take all landmarks away (they are NaN; their channels stay empty). *Predict* both answers, first for your network, then for the shipped one, which has trained far longer.

# %% obey-predict [markdown]
# Landmarks moved to the right, then none at all: what does your network answer, and what the shipped one?
#
# In training the landmarks were never wrong by this much. So nothing taught the networks to doubt them, and pose and place follow the landmarks more than the picture. Empty channels have never been met either: expect a poor face, or none.
#
# <!-- teacher -->
# There is no right answer that holds for every training; the figure decides. What should be said: a network relies on what was reliable in its training. The remedy is to show it errors in training, as the shipped network was shown the detector's.


# %% obey
shipped = vrn.load("guided")
assert shipped.preset.grid == detector.preset.grid
large_spread = large.landmarks[spread]
shift = torch.tensor([shipped.preset.grid.width / 8, 0.0, 0.0])
guides = {
    "true": large_spread,
    "moved": large_spread + shift,
    "none": torch.full_like(large_spread, float("nan")),
}
columns, drawn = {}, {}
for name, points in guides.items():
    columns[f"image,<br>{name}"], drawn[f"image,<br>{name}"] = large.images[spread], points
    mine = viz.shade_volume(
        answers(network, held_out.images[spread], ratio * points), grid.depth_scale
    )
    columns[f"yours,<br>{name}"] = torch.nn.functional.interpolate(
        mine, size=large.images.shape[-2:], mode="bilinear"
    )
    columns[f"shipped,<br>{name}"] = viz.shade_volume(
        answers(shipped, large.images[spread], points), shipped.preset.grid.depth_scale
    )
viz.show(
    viz.image_grid(columns, "True, moved and missing landmarks", landmarks=drawn),
    "Four held-out faces in rows: the image and both networks' answers, for true landmarks, for"
    " landmarks moved to the right, and without any.",
)

# %% obey-after [markdown]
# Neither network has ever seen landmarks that contradict the image by so much, or an input without any: in training they were always there, and always right (yours), or right up to a detector's errors (the shipped one, see section 6). So nothing prepared them for the second and third case. Does its surface stay with the image, follow the landmarks, or fall apart?

# %% drag-text [markdown]
# **Drag them yourself.** Choose all landmarks or one part, then move, turn or scale them, and the shipped network answers anew. *Predict:* what does it do if only the jaw is moved? If the lips are twice as wide? From which distance on does the face break?
#
# The sliders need a running kernel. Without one, use the cell below them: change a number and run it.

# %% drag-predict [markdown]
# What does the shipped network do if only the jaw is moved? From which distance on does the face break?
#
# The outline follows the jaw's landmarks, the middle of the face has landmarks of its own and stays nearer to its place. Small moves, about as large as a detector's errors, are harmless; beyond what training has shown, the answer is torn between picture and landmarks.
#
# <!-- teacher -->
# Let groups find the distance at which *they* would no longer accept the surface, and compare it with the detector's error that section 2 prints.


# %% drag
middle = int(large.yaw.abs().argmin())  # the most frontal face
widgets.wrong_landmarks(shipped, large.images[middle], large.landmarks[middle])

# %% drag-twin
# "all" or a name from landmarks.GROUPS
wrong = landmarks.displaced(large.landmarks[middle], "jaw", right=6, down=0, turn=0, scale=1.2)
viz.show(
    viz.guided_figure(
        shipped, large.images[middle], wrong, "The jaw's landmarks, moved and scaled"
    ),
    "A rendered face with displaced landmarks of the jaw, the Gaussians drawn from them, and the"
    " guided network's answer.",
)


# %% noise-text [markdown]
# ## 5. Landmarks that are a little wrong
#
# A detector errs by a pixel or two, not by an eighth of the image. So the question that matters is how the reconstruction suffers from small errors. Each coordinate gets normal noise of a given standard deviation, in pixels of a 192-pixel image (the paper's size; at smaller sizes,
# proportionally less). After that, a share of the landmarks is taken away. The plain VRN that ships stands beside it: it needs no landmarks, so its line is flat. Where the curves cross it, guidance begins to harm. (The NME is taken without the offset in depth (depth-aligned) between the two sources of faces, see section 6.)


# %% measure tags=["hide-input"]
def score(chances, pairs, depth_scale):
    """Mean IoU and mean depth-aligned NME over the faces; no surface, no NME."""
    meshes = [
        vrn.isosurface(chance, depth_scale=depth_scale) if chance.max() > 0.5 else None
        for chance in chances
    ]
    found = [
        vrn.nme(mesh, pairs.mesh(i), depth_aligned=True)
        for i, mesh in enumerate(meshes)
        if mesh is not None
    ]
    return overlap(chances, pairs), sum(found) / len(found) if found else float("nan")


few = {"ci": 2, "cpu": 8, "gpu": 16}[profile]
cases = {"yours": network, "shipped": shipped, "vrn": vrn.load("vrn")}
# the same faces, in three sizes
tests = {name: next(vrn.heldout(face, few).batches(model.preset)) for name, model in cases.items()}


def curve(name, disturbances):
    """IoU and NME of a network for each disturbed copy of the true landmarks (our network's px)."""
    model, pairs = cases[name], tests[name]
    scale = model.preset.grid.width / grid.width
    return [
        score(
            answers(model, pairs.images, scale * points[:few]), pairs, model.preset.grid.depth_scale
        )
        for points in disturbances
    ]


def against(x, disturbances, title):
    """Figure of IoU and NME of both networks over the size of a disturbance."""
    results = {name: curve(name, disturbances) for name in ("yours", "shipped")}
    for name, found in results.items():
        print(
            f"{name:9}",
            "; ".join(
                f"{at:g}: IoU {iou:.3f}, NME {nme:.3f}"
                for at, (iou, nme) in zip(x, found, strict=True)
            ),
        )
    panels = {}
    for which, quantity in enumerate(("IoU", "depth-aligned NME")):
        panels[quantity] = {
            name: (x, [pair[which] for pair in found]) for name, found in results.items()
        }
        panels[quantity]["shipped vrn, no landmarks"] = (x, [plain[which]] * len(x))
    return viz.panels_figure(panels, title, f"{few} held-out faces")


# %% noise
plain = score(
    answers(cases["vrn"], tests["vrn"].images, None),
    tests["vrn"],
    cases["vrn"].preset.grid.depth_scale,
)
print(f"vrn       IoU {plain[0]:.3f}, NME {plain[1]:.3f}")
# pixels of a 192-pixel image
levels = {"ci": (0, 4), "cpu": (0, 1, 2, 4, 8), "gpu": (0, 1, 2, 4, 8)}[profile]
noise = torch.randn(held_out.landmarks.shape, generator=torch.Generator().manual_seed(8))
noisy = [held_out.landmarks + level * grid.width / 192 * noise for level in levels]
viz.show(
    against(levels, noisy, "noise (px of a 192 px image)"),
    "IoU and NME of your network and of the shipped one over noise of the landmarks from 0 to"
    f" {levels[-1]} pixels, with plain VRN as a flat line.",
)

# %% missing
# percent
shares = {"ci": (0, 50, 100), "cpu": (0, 10, 25, 50, 100), "gpu": (0, 10, 25, 50, 100)}[profile]
# who goes first, by face
order = (
    torch.rand(held_out.landmarks.shape[:2], generator=torch.Generator().manual_seed(9))
    .argsort(1)
    .argsort(1)
)
lost = [
    held_out.landmarks.masked_fill((order < round(68 * share / 100))[..., None], float("nan"))
    for share in shares
]
viz.show(
    against(shares, lost, "missing landmarks (%)"),
    "IoU and NME of your network and of the shipped one over the share of landmarks that are"
    " missing, with plain VRN as a flat line.",
)

# %% missing-after [markdown]
# Look at three things. How far do the curves fall at one or two pixels, which is a detector's error? Is half of the landmarks enough? And is a guided network without any landmarks better or worse than one that never had any?
#
# <!-- teacher -->
# One or two pixels cost little, half of the landmarks are often enough, and without any landmarks a guided network has lost what it relied on: it has no reason to be as good as plain VRN, which learned to do without. The printed lines decide.

# %% shipped-text [markdown]
# ## 6. With the detector
#
# The test that counts: shipped `guided` with the landmarks of the shipped detector, on held-out faces. In the paper this is the best of the three networks on all three test sets (NME 0.0637 on AFLW2000-3D, against 0.0676 of plain VRN and 0.0698 of Multitask). The rows "true landmarks" tell what a perfect detector would bring.
#
# One thing differs from the paper: it trains with true landmarks alone. The shipped network got the detector's landmarks in every second sample (`vrn.train(..., detector=...)`), so that it has met errors like those that it will be given.
# (On the built-in faces, look at the depth-aligned NME: the shipped networks were trained on ICT faces.)

# %% shipped
count = {"ci": 4, "cpu": 64, "gpu": 256}[profile]
testset = vrn.heldout(face, count).seen_by(detector)
predictors = default_predictors({"guided": shipped, "vrn": cases["vrn"]}, testset)
means = vrn.evaluate(predictors, testset).mean()
# the last column: depth-aligned
means[["iou", "iou_front", "nme", "nme_depth_aligned"]].round(4)

# %% photo-text [markdown]
# ## 7. A photograph
#
# The last test has no truth. The detector was trained on rendered faces, and so was the network. `reconstruct` finds the face, crops it, finds the landmarks, crops once more around them, draws them, and asks VRN-Guided.

# %% photo
photo = skimage.data.astronaut()
result = vrn.reconstruct(photo, model="guided")
x0, y0, x1, y1 = (round(value) for value in result.box)
margin = (x1 - x0) // 2
left, top = max(x0 - margin, 0), max(y0 - margin, 0)
window = photo[top : y1 + margin, left : x1 + margin] / 255
points = viz.numbers(result.landmarks)[:, :2] - (left, top)
viz.show(
    viz.images_figure(
        {"found landmarks": window},
        "The astronaut Eileen Collins (NASA, 1999)",
        landmarks={"found landmarks": points},
    ),
    "The face of an astronaut with the 68 landmarks that the detector finds.",
)

# %% mesh
mesh = result.mesh
figure = viz.mesh_figure(
    mesh.vertices,
    mesh.faces,
    mesh.visual.vertex_colors,
    title="VRN-Guided: drag to turn, scroll to zoom",
    most_vertices=viz.MOST_VERTICES,
)
viz.show(
    figure,
    f"The astronaut's face as a coloured surface of {len(mesh.vertices):,} vertices, reconstructed"
    " by VRN-Guided.",
)

# %% beside
other = vrn.reconstruct(photo, model="vrn").mesh
apart = 0.6 * (mesh.bounds[1, 0] - mesh.bounds[0, 0])
parts = {
    "guided": {"vertices": mesh.vertices - (apart, 0, 0), "triangles": mesh.faces},
    "vrn": {
        "vertices": other.vertices + (apart, 0, 0),
        "triangles": other.faces,
        "colours": viz.COLOURS[5],
    },
}
viz.show(
    viz.meshes_figure(
        parts, "Guided (left) and plain VRN (right, blue)", most_vertices=viz.MOST_VERTICES // 2
    ),
    "The same photograph reconstructed by VRN-Guided and by plain VRN, as two surfaces in one"
    " colour each.",
)

# %% photo-after [markdown]
# Turn both. Where do they differ? Look at the landmarks above, too: a surface that is guided to a wrong place is wrong for a reason that you can see.

# %% summary [markdown]
# ## Summary
#
# * VRN-Guided is VRN with 68 more input channels. True landmarks in training, found ones at test time, both drawn as the same Gaussians.
# * Pose and size are given away by the landmarks, so the network can attend to the shape sooner.
# * It trusts what it was trained to trust, and a detector's errors can be a part of the training. Noise and missing landmarks show how much that costs, and plain VRN where it stops to pay.
#
# **Discuss:** Guidance makes the network depend on a detector. What is gained, and who answers for an error?
#
# **Next:** [07_evaluation.ipynb](07_evaluation.ipynb) puts all of them through the paper's tests.
#
# <!-- teacher -->
# On the question to discuss: Pose and place are gained; a fault of the detector now shows as a wrong face, not as a missing one. Training with the detector's errors, or a measure of its confidence, are remedies.
