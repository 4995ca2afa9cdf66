# ---
# jupyter:
#   vrn_lite:
#     about: two trainings side by side, three seeds, a surprise; crops that miss, hidden faces
# ---

# %% title [markdown]
# # Ablation: alignment
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/08_ablation_alignment.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/08_ablation_alignment.ipynb)
#
# **What you will learn.** What it means that image and volume are aligned, and what a network does when they are not. You train both, side by side. Then a result that contradicts the paper at first sight, and three looks at why. At the end, two claims of the paper
# that it never tests: that no accurate crop is needed, and that anything may stand before the face.
#
# **You need** notebooks 06 and 07. **Time:** about 35 minutes of reading; the two trainings take one to two minutes each on two CPU cores, the other cells two or three minutes, less on a GPU.
#
# Cells that only measure and draw are folded: click on ··· to read one.
#
# The paper is Jackson et al., ICCV 2017 ([arXiv:1703.07834](https://arxiv.org/abs/1703.07834)). This notebook follows its section 5 (the importance of spatial alignment), and the claims of its section 1.

# %% set-up
# Set-up: run me first. On Colab this installs the package (20 s); elsewhere it is there already.
import importlib.util
import os
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("vrn_lite") is None:
    pass  # %pip install -q "vrn_lite @ git+https://github.com/OWNER/vrn_lite"
# before PyTorch: on shared machines, threads must not spin while they wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dataclasses import replace
from statistics import fmean

import pandas as pd
import torch

import vrn_lite as vrn
from vrn_lite import exercises, viz
from vrn_lite.camera import crop_camera
from vrn_lite.evaluation import predictors, testsets
from vrn_lite.inference import landmarks_in, probabilities
from vrn_lite.metrics import error_curve, normaliser
from vrn_lite.networks.base import build
from vrn_lite.networks.weights import shipped, weights_metadata
from vrn_lite.raster import nearest, rasterize
from vrn_lite.samples import MILD_JITTER, PAPER_JITTER, unaligned
from vrn_lite.studies import ablations
from vrn_lite.studies.published import results
from vrn_lite.viz import widgets

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% frames-text [markdown]
# ## 1. The same pixel, the same voxel
#
# A network of this paper is asked one question for each voxel (d, r, c): is it inside the face? The volume stands in the picture's own frame. What belongs to voxel (d, r, c) is seen in pixel (r, c), and around it. A convolution looks around a pixel, so it finds what it needs where it needs it.
# The paper holds that this is why such a simple network can do the task (sections 1 and 3.2).
#
# The test is to take it away. Ask for the same person, with the same expression, but always from the front, centred, at one size (`pairs.unaligned`). The network is the same, with as many weights. Nothing of the shape is lost: pose is a motion, and can be put back. But now the tip of the nose has to be
# answered in the middle of the volume, wherever the picture shows it.
#
# *Predict:* is the second task harder, or easier?

# %% frames-predict [markdown]
# Is the second task, the face from the front, harder or easier for the same network?
#
# Harder, if the person is to be recognised: what is answered at a voxel is seen elsewhere in the picture. Easier, if little is asked: all targets look nearly alike, and one mean face is close to each of them. An error measure may not see the difference. That is what this notebook is about.
#
# <!-- teacher -->
# Most say "harder", with the paper. Do not resolve it here: section 2 seems to say "easier", and section 4 says why.


# %% frames
face = vrn.faces.default()
source = face.name
# the shipped networks learned from ICT faces; notebook 07 has the reason
score = {"ict": "nme", "procedural": "nme_depth_aligned"}[source]
models = {name: vrn.load(name) for name in ("vrn", "unaligned", "guided")}
detector = vrn.load("landmarks")
large = detector.preset  # 128 px, as the others
pairs = next(vrn.heldout(face, 16).batches(large))
frontal = unaligned(pairs, face.interocular, large.grid)
# from one side to the other
some = (pairs.yaw - torch.tensor([[-70.0], [-20.0], [15.0], [50.0]])).abs().argmin(1)


def over(images, volumes):
    """Volumes [b, d, h, w], lit, and drawn half-transparent over the images."""
    lit = viz.shade_volume(volumes, large.grid.depth_scale)
    return lit, torch.where(volumes.any(1)[:, None], 0.4 * images + 0.6 * lit, images)


columns = {"image": pairs.images[some]}
for name, target in {"aligned": pairs, "frontal": frontal}.items():
    lit, both = over(target.images[some], target.volumes[some])
    columns |= {f"{name}<br>volume": lit, f"{name},<br>over the image": both}
for i in some:
    share = vrn.iou(pairs.volumes[i].any(0)[None], frontal.volumes[i].any(0)[None])
    print(
        f"yaw {pairs.yaw[i]:4.0f}, pitch {pairs.pitch[i]:4.0f} degrees: outlines of the two volumes"
        f" agree by {share:.0%}; both hold the same face"
    )
straight = frontal.mesh(int(some[0]))  # for the next figure
del frontal, target  # sixteen volumes, no longer needed
viz.show(
    viz.image_grid(columns, "Two volumes for one image"),
    "Four rendered faces in rows: the image, the aligned volume, which covers the face in it, and"
    " the frontal volume, which does not.",
)


# %% ex1-text [markdown]
# The frontal target is made from the aligned one: back into the model's own frame, where all heads look straight ahead, and from there through a camera without any pose.
#
# ### Exercise 1: take the pose out
#
# The camera places model points x as **p = s R x + t**. With points in rows: `points = scale * model @ rotation.T + translation`. You are given `points` [n, 3] in pixels. Give the model points.


# %% ex1
def to_model(points, scale, rotation, translation):
    ### BEGIN SOLUTION
    return (points - translation) @ rotation / scale
    ### END SOLUTION


exercises.check("08.1", to_model)

# %% ex1-solution [markdown]
# What came last is undone first. The inverse of a rotation is its transpose, and `@ rotation.T` is undone by `@ rotation`.

# %% motion
one = int(some[0])
there, back = pairs.camera, pairs.camera.inverse()
truth = pairs.mesh(one)
by_hand = (truth.vertices - there.translation[one]) @ there.rotation[one] / there.scale[one]
assert torch.allclose(by_hand, back(pairs.truth.vertices)[one], atol=1e-3)
parts = {
    "in the image": {"vertices": truth.vertices, "triangles": truth.solid_triangles()},
    "from the front": {
        "vertices": straight.vertices,
        "triangles": straight.solid_triangles(),
        "colours": viz.COLOURS[5],
    },
}
viz.show(
    viz.meshes_figure(
        parts,
        "One face, two places: in the image (skin) and from the front (blue)",
        most_vertices=viz.MOST_VERTICES // 3,
    ),
    "The same face twice in one box: turned as the image shows it, and from the front.",
)

# %% live-text [markdown]
# ## 2. Two trainings that differ in one thing
#
# Same network, same first weights, same faces in the same order, same number of samples. Only the target differs. Each network is judged in the frame that it was asked for: the aligned one against the face in the image, the frontal one against the frontal face. These are few samples: more than a first impression is not to be had in two minutes.

# %% look tags=["hide-input"]
preset, samples, batch = {
    "ci": ("tiny", 160, 4),
    "cpu": ("lite", 2_400, 16),
    "gpu": ("colab", 24_000, 32),
}[profile]
# notebook 04: less augmentation for minutes
poses = {"ci": MILD_JITTER, "cpu": MILD_JITTER, "gpu": PAPER_JITTER}[profile]
grid = vrn.preset(preset).grid
held_out = next(vrn.heldout(face, {"ci": 4, "cpu": 16, "gpu": 16}[profile]).batches(preset))
targets = {"aligned": held_out, "frontal": unaligned(held_out, face.interocular, grid)}
# from one side to the other
four = held_out.yaw.argsort()[torch.linspace(0, len(held_out) - 1, 4).round().long()]
history, looks = {task: [] for task in targets}, {task: [] for task in targets}


def judged(network, target):
    """Probabilities for four held-out faces; mean IoU and NME over all that have a surface."""
    chances = probabilities(network.eval(), target.images, test_time_augmentation=False).cpu()
    solid = [i for i, chance in enumerate(chances) if chance.max() > 0.5]
    errors = [
        vrn.nme(vrn.isosurface(chances[i], depth_scale=grid.depth_scale), target.mesh(i))
        for i in solid
    ]
    return (
        chances[four],
        float(vrn.iou(chances > 0.5, target.volumes).mean()),
        sum(errors) / len(errors) if errors else float("nan"),
    )


def progress():
    """Curves of both trainings so far."""
    panels = {"loss": {}, "IoU, held-out": {}, "NME, held-out": {}}
    for task, records in history.items():
        panels["loss"][task] = viz.downsample(
            [record.samples for record in records], [record.loss for record in records]
        )
        for number, name in ((1, "IoU, held-out"), (2, "NME, held-out")):
            panels[name][task] = viz.downsample(
                [look[0] for look in looks[task]], [look[number] for look in looks[task]]
            )
    return viz.panels_figure(panels, "samples", "Aligned and frontal, each in its own frame")


# %% live
marks = [round(samples * share) for share in (0.1, 0.3, 0.6, 1)]
mine, answers, curves = {}, {}, widgets.Live(every=4)
for task, variant in {"aligned": "vrn", "frontal": "unaligned"}.items():
    mine[task] = build(variant, preset, seed=0)
    for record in vrn.train(mine[task], face, samples=samples, batch=batch, seed=0, poses=poses):
        history[task].append(record)
        if record.samples >= marks[len(looks[task])]:
            answers[task], overlap, error = judged(mine[task], targets[task])
            looks[task].append((record.samples, overlap, error))
        curves.draw(
            progress,
            "Loss, IoU and NME of both trainings over samples.",
            now=record.samples >= samples,
        )
for task, records in history.items():
    _, overlap, error = looks[task][-1]
    first, last = (
        sum(record.loss for record in some_of) / len(some_of)
        for some_of in (records[:10], records[-10:])
    )
    print(
        f"{task:8} {records[-1].seconds / 60:.1f} minutes, loss {first:.3f} to {last:.3f}, held-out"
        f" IoU {overlap:.3f}, NME {error:.3f}"
    )
    assert last < first  # the loss falls

# %% answers
columns = {"image": held_out.images[four]}
for task, target in targets.items():
    columns[f"{task}:<br>answer"] = viz.shade_volume(answers[task], grid.depth_scale)
    columns[f"{task}:<br>truth"] = viz.shade_volume(target.volumes[four], grid.depth_scale)
viz.show(
    viz.image_grid(columns, f"After {samples:,} samples"),
    "Four held-out faces in rows: image, answer and truth of the aligned task, answer and truth of"
    " the frontal task.",
)

# %% answers-after [markdown]
# Compare the two columns of answers. The frontal one looks much better, and so does its IoU. (The NME of the first looks says nothing: a surface that is everywhere is near everything, see notebook 04.) Is that not the *harder* task? Now go down its column and compare the answers with each other. Keep in mind what you see; section 4 comes back to it.
#
# <!-- teacher -->
# All answers of the frontal column look alike. Let somebody find this out by covering the images: nobody can tell whose face it is.

# %% answers-next [markdown]
# ## 3. Three seeds, and the paper
#
# The package's results file holds the same comparison with more samples, for three seeds: networks trained from scratch with equal budgets, on the same held-out faces. The frontal answer is judged three times:
#
# * **in its own frame**, against the frontal truth;
# * **put back with the true pose** to where the image shows the face: a generous bound, for nobody knows the true pose;
# * **put back with a pose that was found**: a landmark detector finds 68 points in the image, and the mean face is turned until its landmarks lie on them.
#
# Beside them: the mean face, given the true pose and size; the oracle, which is given everything but the grid's error; and the aligned network that gets the same found landmarks as the third way, VRN-Guided.

# %% seeds tags=["hide-input"]
ours, paper, study = results(), results("paper"), results()["study"]


def lines(part, **facts):
    """The results with these facts."""
    return [line for line in ours[part] if facts.items() <= line.items()]


def over_seeds(label, key):
    """One number for each seed."""
    part, facts = ways[label]
    return [line[key] for line in lines(part, **facts)]


ways = {
    "aligned": ("alignment", {"method": "aligned"}),
    "aligned, guided": ("gaussians", {"sigma": 1, "landmarks": "detected"}),
    "frontal frame": ("alignment", {"method": "frontal frame"}),
    "put back, true pose": ("alignment", {"method": "put back, true pose"}),
    "put back, found pose": ("alignment", {"method": "put back, found pose"}),
}
limits = {
    "mean face": weights_metadata(shipped()["vrn"])["heldout"]["ict"]["mean face"],
    "oracle": lines("by_side", method="true volume", side=vrn.preset(study["preset"]).grid.width)[
        0
    ],
}
scores = {"NME": "nme", "rigid NME": "nme_rigid"}
averages = {
    name: {label: pd.Series(over_seeds(label, key)).agg(["mean", "std"]) for label in ways}
    for name, key in scores.items()
}
print(
    f"preset {study['preset']}, {study['samples']:,} samples each, seeds {study['seeds']},"
    f" {study['faces']} held-out faces ({study['source']})"
)
for label in ways:
    print(
        f"{label:22}"
        + "   ".join(
            f"{name} {averages[name][label]['mean']:.4f} ± {averages[name][label]['std']:.4f}"
            for name in scores
        )
    )
for label, line in limits.items():
    print(
        f"{label:22}"
        + "   ".join(f"{name} {line[key]:.4f}         " for name, key in scores.items())
    )
bars, reach = {}, {}
for name, key in scores.items():
    bars[name] = {label: value["mean"] for label, value in averages[name].items()} | {
        label: line[key] for label, line in limits.items()
    }
    reach[name] = {label: value["std"] for label, value in averages[name].items()} | dict.fromkeys(
        limits, 0
    )
viz.show(
    viz.bars_figure(
        bars,
        "network and frame",
        "error / interocular distance",
        "With alignment and without, mean and spread over the seeds",
        spread=reach,
    ),
    "NME and rigid NME of the aligned and the frontal networks in three ways, with the spread over"
    " three seeds; the mean face and the oracle beside them.",
)

# %% verdicts
for better, worse in (
    ("frontal frame", "aligned"),
    ("put back, found pose", "aligned"),
    ("put back, found pose", "aligned, guided"),
):
    gaps = [y - x for x, y in zip(over_seeds(better, "nme"), over_seeds(worse, "nme"), strict=True)]
    word = {True: better, False: worse}[sum(gaps) > 0]
    often = {True: "with every seed", False: "but not with every seed"}[
        len({gap > 0 for gap in gaps}) == 1
    ]
    print(
        f"{worse} - {better}: {', '.join(f'{gap:+.4f}' for gap in gaps)}; in the mean {word} is"
        f" ahead, {often}"
    )

# %% tests tags=["hide-input"]
at, shares = (
    (0, *paper["share_of_images_with_nme_below"]["thresholds"]),
    paper["share_of_images_with_nme_below"]["AFLW2000-3D"],
)
theirs = {
    "AFLW2000-3D": {
        "aligned": (at, (0, *shares["VRN"])),
        "frontal": (at, (0, *shares["VRN without alignment"])),
    }
}
shown = {
    "aligned": ("vrn", "network"),
    "frontal": ("unaligned", "network"),
    "mean face": ("vrn", "mean face"),
}
pages = {}
for protocol, test in (
    ("aflw2000", "AFLW2000-3D"),
    ("florence", "Florence"),
    ("bu4dfe", "BU-4DFE"),
):
    pages[test] = {}
    for name, (model, method) in shown.items():
        (line,) = lines(
            "shipped_table", model=model, method=method, protocol=protocol, faces=study["source"]
        )
        # a face without a surface is in no share
        curve = error_curve(torch.tensor(line["per_face"]["nme"]), limit=0.25, steps=51)
        pages[test][name] = curve.thresholds.tolist(), curve.shares.tolist()
        print(f"{test:12} {name:10} NME {line['nme']:.4f}, rigid NME {line['nme_rigid']:.4f}")
viz.show(
    viz.compared_figure(
        pages,
        theirs,
        "NME",
        "share of faces below",
        "Shipped networks: cumulative error",
        slider="test",
    ),
    "Cumulative error curves of the aligned and the frontal network and of the mean face on three"
    " tests; the paper's two curves for one of them, dashed.",
)

# %% surprise [markdown]
# ### A surprise
#
# In the paper, alignment wins by far: its dashed curves lie wide apart, with the frontal network to the right. (We know them at five errors.) Look at ours, and at the verdicts printed above. Where the frontal network has the *smaller* error on your screen, that is no slip of the pen. It came out so with our
# rendered faces and budgets, and it deserves a proper look before anybody concludes that alignment is useless. Three looks follow. Each tests one explanation:
#
# 1. The frontal frame gives the pose away, and pose is the larger part of the error.
# 2. The frontal network hardly looks at the person: it gives everybody about the same face, and on these faces that is a good answer.
# 3. A frontal answer is not yet an answer to the question. The pose has to be found, and whoever has found it can tell an aligned network, too.
#
# ## 4. Three looks
#
# **First look: how much of the error is pose?** The rigid NME forgives any motion. What a rigid motion takes away was an error of pose and place, not of shape. In the frontal frame there is no pose to be wrong about. (Rigid NMEs compare shapes only roughly: nearest points slide, see notebook 07, and they flatter rough surfaces, see notebook 09.)

# %% pose-share
means = {
    label: {key: fmean(over_seeds(label, key)) for key in scores.values()} for label in ways
} | limits
for label, line in means.items():
    print(
        f"{label:22} NME {line['nme']:.4f}, of which a rigid motion takes away"
        f" {1 - line['nme_rigid'] / line['nme']:.0%} and leaves {line['nme_rigid']:.4f}"
    )
yaws = (-80, -40, 0, 40, 80)


def by_yaw(model, method, key):
    """Mean error of a shipped network at each of Florence's yaws."""
    (line,) = lines(
        "shipped_table", model=model, method=method, protocol="florence", faces=study["source"]
    )
    each = [
        [
            value
            for at, value in zip(line["per_face"]["yaw"], line["per_face"][key], strict=True)
            if abs(at - yaw) < 1
        ]
        for yaw in yaws
    ]
    return yaws, [sum(values) / len(values) for values in each]


panels = {
    name: {label: by_yaw(*which, key) for label, which in shown.items()}
    for name, key in scores.items()
}
viz.show(
    viz.panels_figure(panels, "yaw (degrees)", "Shipped networks on Florence, by yaw"),
    "NME and rigid NME by yaw: the aligned network's error depends on the pose, the mean face's and"
    " the frontal network's much less.",
)


# %% same-text [markdown]
# **Second look: whose face is it?** The mean face, given the pose and nothing of the person, has a small NME. So on these faces a network can get far by knowing nobody. To see what a network knows of the *person*, pose, place and size must be out of the way, and so must everything that all people have in common:
#
# * Every surface is brought to the frontal frame (the aligned network's with the *true* pose) and moved rigidly onto the mean face. What remains is shape.
# * There, its depth is compared with the mean face's, pixel by pixel: a map of how much this face stands out or lies back. (Nearest points would not do: they slide, see notebook 07.)
# * From all maps of a network the mean of its maps is subtracted. What is left is what tells one person from another. The same for the truth.
#
# ### Exercise 2: how much of the person?
#
# `predicted` and `truth` are [n, v]: a map of v pixels for each of n people. Subtract from each its mean over the people. Then give the correlation of what is left, over all people and pixels together: **Σ p t / √(Σ p² Σ t²)**. It is 1 for the right shapes, and 0 for shapes that have nothing to do with the person.


# %% ex2
def agreement(predicted, truth):
    ### BEGIN SOLUTION
    p, t = predicted - predicted.mean(0), truth - truth.mean(0)
    return (p * t).sum() / (p.square().sum() * t.square().sum()).sqrt()
    ### END SOLUTION


exercises.check("08.2", agreement)


# %% shape tags=["hide-input"]
class Frontal:
    """The frontal frame of a preset, with the mean face in it."""

    def __init__(self, preset):
        self.grid, level, mean = vrn.preset(preset).grid, torch.zeros(1), face.mesh()
        camera = crop_camera(
            mean.landmark_points().expand(1, -1, -1),
            level,
            level,
            level,
            face.interocular,
            self.grid,
        )
        self.mean = mean.with_vertices(camera(mean.vertices.expand(1, -1, -1)))[0]
        self.d = float(normaliser(self.mean.landmark_points()))
        self.depth, on = self.seen(self.mean.vertices, self.mean.solid_triangles())
        skin = torch.zeros_like(self.depth)
        skin[on.row, on.column] = (
            self.mean.face[self.mean.solid_triangles()[on.triangle]].all(1).float()
        )
        edge = 1 + 2 * round(self.grid.width / 64)
        # without the face's border ...
        inner = -torch.nn.functional.max_pool2d(-skin[None], edge, stride=1, padding=edge // 2)[0]
        # ... and steep sides, where depth says little
        self.core = (inner > 0) & (torch.stack(torch.gradient(self.depth)).abs() < 1).all(0)

    def seen(self, points, triangles):
        """Depth [h, w] of a surface seen from the front, NaN beside it, and what was drawn."""
        drawn = nearest(rasterize(points[None], triangles, self.grid.height, self.grid.width))
        depth = torch.full((self.grid.height, self.grid.width), float("nan"))
        depth[drawn.row, drawn.column] = drawn.depth.float()
        return depth, drawn

    def deviation(self, points, triangles):
        """How far a surface lies behind the mean face [v], in d, after a rigid motion onto it."""
        settled = (
            vrn.icp(points, self.mean.vertices[self.mean.face])
            .motion(points[None].double())[0]
            .float()
        )
        behind = (self.seen(settled, triangles)[0] - self.depth)[self.core] / self.d
        return (behind - behind.nanmedian()).nan_to_num(0).clamp(-0.3, 0.3)


# %% people tags=["hide-input"]
def found_in(batch):
    """The landmarks that the detector finds, at the shipped networks' size."""
    return landmarks_in(detector, batch.images, test_time_augmentation=False)


def maps_of(networks, preset, people):
    """The frontal frame, and maps [people, v] of the truth, the true volume, and each network."""
    frame, maps = Frontal(preset), {name: [] for name in ("truth", "true volume", *networks)}
    # `map` drops a batch before the next is made: two at once are too many
    found = map(found_in, vrn.heldout(face, people).batches(large))
    seen = [points * frame.grid.width / large.grid.width for points in found]
    for batch in vrn.heldout(face, people).batches(preset):
        points = seen.pop(0)
        straight = unaligned(batch, face.interocular, frame.grid)
        way = batch.camera.inverse().compose(straight.camera)  # the true pose, taken out
        maps["truth"] += [
            frame.deviation(mesh.vertices, mesh.solid_triangles())
            for mesh in map(straight.mesh, range(len(batch)))
        ]
        for name in list(maps)[1:]:
            for i in range(len(batch)):  # one by one: a volume of probabilities is large
                one = slice(i, i + 1)
                (chance,) = (
                    straight.volumes[one]
                    if name == "true volume"
                    else probabilities(networks[name], batch.images[one], False, points[one]).cpu()
                )
                surface = vrn.isosurface(
                    chance,
                    level=min(0.5, 0.9 * float(chance.max())),
                    depth_scale=frame.grid.depth_scale,
                )
                vertices = torch.tensor(surface.vertices, dtype=torch.float32)
                turned = (
                    vertices
                    if name in ("true volume", "frontal")
                    else testsets.part(way, one)(vertices[None])[0]
                )
                maps[name].append(frame.deviation(turned, torch.tensor(surface.faces)))
        del batch, straight
    return frame, {name: torch.stack(found) for name, found in maps.items()}


def told(maps):
    """One line for each kind of map."""
    own = {name: found - found.mean(0) for name, found in maps.items()}
    truth = own["truth"]
    for name, found in own.items():
        right, wrong = (
            float((found * t).sum() / (found.norm() * t.norm()).clamp(min=1e-9))
            for t in (truth, truth.roll(1, 0))
        )
        print(
            f"{name:12} differs between people by {found.norm() / truth.norm():4.0%} of the truth;"
            f" agreement {right:+.3f} (with somebody else {wrong:+.3f})"
        )


# %% person
people = {"ci": 4, "cpu": 48, "gpu": 128}[profile]
print(f"Yours, {samples:,} samples each, preset {preset}, {people} {source} faces:")
told(maps_of(mine, preset, people)[1])
print("\nShipped, unequal budgets:")
for name in ("vrn", "unaligned"):
    print(f"  {name}: {weights_metadata(shipped()[name])['training']}")
frame, maps = maps_of(
    {"aligned": models["vrn"], "guided": models["guided"], "frontal": models["unaligned"]},
    large,
    people,
)
told(maps)
rows, columns = (torch.nonzero(frame.core.any(axis)).flatten() for axis in (1, 0))
window = (..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
blue, orange = (
    torch.tensor([int(viz.COLOURS[k][at : at + 2], 16) for at in (1, 3, 5)]).view(3, 1, 1) / 255
    for k in (0, 1)
)
tiles = {}
for name, found in maps.items():
    canvas = torch.zeros(4, 1, *frame.core.shape)
    canvas[:, 0, frame.core] = ((found.mean(0) - found[:4]) / 0.15).clamp(-1, 1)
    tiles[name.replace(" ", "<br>")] = (
        1 - canvas.clamp(min=0) * (1 - orange) + canvas.clamp(max=0) * (1 - blue)
    )[window]
viz.show(
    viz.image_grid(
        tiles, "Where four people differ from the others: orange stands out, blue lies back"
    ),
    "For four people in rows: where and how much their faces differ in depth from the mean of all,"
    " in truth and as each network has it.",
)

# %% person-after [markdown]
# The true volume is the control: the measure must find the person where the volume has it, and it does. "With somebody else" is the other control: nothing should be found there, and what is, is chance.
#
# Now read the frontal networks' lines. How much do their answers differ between people, compared with the truth? If it is little, everybody was given nearly the same face, from the front. That is the mean face, and the mean face is a good answer in NME, as long as one is *told* the pose, and as long as people differ as little as these drawn ones: the mean
# face's own NME says how little. The aligned networks' answers differ between people far more. Part of that agrees with the right person, as much as their line says; the rest is wrong, and NME charges for it, and for every error of pose. An answer that dares nothing is charged for nothing. (To be fair: from a few thousand samples nobody learns
# people, not the aligned network either. And the shipped frontal network has had far fewer samples of its own task than the aligned one. On the built-in faces, which the shipped networks have never seen, there may be nothing to read at all.)
#
# **This explanation can be tested.** Who answers one face for all must fail where faces are far from it. All faces of the BU-4DFE test are happy or surprised, those of Florence are neutral. Look at the table of section 3: who is ahead on Florence, and who on BU-4DFE? And how near is the frontal network's rigid NME there to that of the *neutral* mean face?
#
# So NME, in a frame of one's own, rewards the network that ignores the picture, until the picture shows something unusual. This is why the mean face stands beside every result in this package.
#
# **Third look: who finds the pose?** In the picture, a face from the front is of no use. With landmarks found in the image its pose can be put back. The same landmarks can be given to an aligned network, and this is VRN-Guided. So compare these two: both know the same. The seeds of section 3 have the numbers for equal budgets (*put back, found pose* against
# *aligned, guided*); here are the shipped networks.

# %% found tags=["hide-input"]
few = {"ci": 4, "cpu": 32, "gpu": 128}[profile]


def asked_once(name, **landmarks):
    """A shipped network as a predictor, without averaging over shifted copies."""
    return predictors.network_predictor(models[name], test_time_augmentation=False, **landmarks)


frontal = asked_once("unaligned")
ways_back = {
    "aligned": asked_once("vrn"),
    "frontal, true pose": predictors.repose(frontal, predictors.true_pose(face, large.grid)),
    "frontal, found pose": predictors.repose(frontal, ablations.found_pose(face, large.grid)),
    "guided": asked_once("guided", landmarks=predictors.detected_landmarks),
    "mean face, true pose": predictors.mean_face_predictor(face, large),
}
testset = vrn.heldout(face, few).seen_by(detector, test_time_augmentation=False)
display(vrn.evaluate(ways_back, testset).mean()[[score, "nme_rigid", "iou_front"]].round(4))
seen = replace(pairs, found=found_in(pairs))
columns = {"image": seen.images[some]}
for name, predictor in ways_back.items():
    lit = [
        viz.shade_volume(answer.volume, large.grid.depth_scale) if i in some else None
        for i, answer in enumerate(predictor(seen))
    ]
    columns[name.replace(", ", ",<br>")] = torch.stack([lit[i] for i in some])
columns["truth"] = viz.shade_volume(seen.volumes[some], large.grid.depth_scale)
viz.show(
    viz.image_grid(columns, "In the image's frame"),
    "Four faces in rows, as the aligned, the frontal and the guided networks have them in the"
    " image's frame, beside the mean face and the truth.",
)

# %% found-after [markdown]
# Where does this leave the paper's finding? Not refuted: its test has photographs of people, ours has drawings of a face model; its networks have seen each of 60,000 images dozens of times, ours a few thousand to a hundred thousand, each once. And the published numbers do not say in which frame, and with which pose, the frontal answers were judged. What we can say is what
# our frontal network has learnt, and that its number alone would have misled us.
#
# What alignment is for can be seen in this last figure, too: what a picture shows at some place, an aligned answer can *keep* at that place. A frontal one has to be put in its place.
#
# **With more samples?** One longer training of the aligned network, measured on its way. How far is the frontal network's number, and how fast does the curve come down? (Mind the first points: a small NME with a small IoU is a surface that is everywhere, see notebook 04.)

# %% more-samples
steps = lines("by_samples", model="vrn")
counts = [line["samples"] for line in steps]
panels = {
    name: {"aligned": (counts, [line[key] for line in steps])}
    for name, key in (*scores.items(), ("IoU", "iou"))
}
for name, key in (*scores.items(), ("IoU", "iou")):
    value = fmean(over_seeds("frontal frame", key))
    panels[name][f"frontal frame, {study['samples']:,} samples"] = (
        (counts[0], counts[-1]),
        (value, value),
    )
    panels[name]["mean face"] = ((counts[0], counts[-1]), (limits["mean face"][key],) * 2)
for line in steps:
    print(
        f"{line['samples']:6,} samples: NME {line['nme']:.4f}, rigid NME {line['nme_rigid']:.4f},"
        f" IoU {line['iou']:.3f}"
    )
viz.show(
    viz.panels_figure(
        panels, "samples", f"One training of the aligned network, preset {study['preset']}"
    ),
    "NME, rigid NME and IoU of the aligned network over training samples, with the frontal network"
    " and the mean face as level lines.",
)

# %% crops-text [markdown]
# ## 5. "Does not require accurate alignment"
#
# Another alignment, and another claim: section 1 of the paper says that its method needs no accurate alignment of the *crop*, in contrast to methods that start from a fitted face. It gives no numbers. So we let crops miss: the face lies up to 30 px (of 192) beside the centre, or is up to 30 % too large or too small.
#
# In training, crops are moved by up to 15 px and scaled by up to 15 %, as in the paper. *Predict:* what happens within this range, and what beyond?

# %% crops-predict [markdown]
# What happens to crops that miss by up to 15 px or 15 %, and beyond?
#
# Within what training has shown, the error grows a little. Beyond it, it grows fast; and a face that is too small is worse than one that lies a little aside, since a convolution does the same everywhere, but not at every size.
#
# <!-- teacher -->
# The printed factors are those of the stored results. Ask for the price of the other choice: a training with crops off by 30 px would be ready for them, and worse in place.


# %% crops-live
misses = {
    "in place": {},
    "15 px off": {"shift": 15},
    "30 px off": {"shift": 30},
    "x 0.7": {"zoom": 0.7},
    "x 1.3": {"zoom": 1.3},
}
three = some[1:]
columns = {}
for name, miss in misses.items():
    crops = ablations.displaced(face, 16, **miss).seen_by(detector, test_time_augmentation=False)
    (batch,) = crops.batches(large)
    chances = probabilities(models["guided"], batch.images[three], False, batch.found[three])
    columns |= {
        name: batch.images[three],
        f"{name}:<br>guided": viz.shade_volume(chances, large.grid.depth_scale),
    }
    off = (batch.found - batch.landmarks[..., :2]).norm(dim=-1).mean() * 192 / large.grid.width
    print(f"{name:10} the detector is off by {off:.1f} px of 192 in the mean, over 16 faces")
    del batch, chances  # before the next batch is made
viz.show(
    viz.image_grid(columns, "Crops that miss, and what VRN-Guided makes of them"),
    "Three faces in rows; in columns, crops that are right, off by 15 and 30 pixels, too small and"
    " too large, each with the reconstruction.",
)


# %% crops
def crop_curve(model, key, **fixed):
    """Error of a shipped network over a miss of the crop."""
    chosen = sorted(lines("crops", model=model, **fixed), key=lambda line: line[key])
    return [line[key] for line in chosen], [line["nme"] for line in chosen]


panels = {
    "NME, crop off": {model: crop_curve(model, "shift", zoom=1.0) for model in ("guided", "vrn")},
    "NME, face of a wrong size": {
        model: crop_curve(model, "zoom", shift=0) for model in ("guided", "vrn")
    },
}
for model in ("guided", "vrn"):
    (shifts, by_shift), (zooms, by_zoom) = (curves[model] for curves in panels.values())
    clean = by_shift[0]
    print(
        f"{model:7} in place {clean:.4f}; "
        + ", ".join(
            f"{at} px off: x {value / clean:.2f}"
            for at, value in zip(shifts[1:], by_shift[1:], strict=True)
        )
    )
    print(
        f"{'':7} "
        + ", ".join(
            f"face x {at:g}: x {value / clean:.2f}"
            for at, value in zip(zooms, by_zoom, strict=True)
            if at != 1
        )
    )
    panels["NME, face of a wrong size"][model] = ([100 * at for at in zooms], by_zoom)
viz.show(
    viz.panels_figure(
        panels, "px of 192; % of the right size", "Shipped networks in crops that miss"
    ),
    "NME of VRN-Guided and of VRN over the shift of the crop, and over the size of the face in it.",
)


# %% crops-after [markdown]
# A network of convolutions does the same thing everywhere in the picture, so a face that lies elsewhere is not new to it, up to two limits: training has to have shown such crops (15 px, 15 %), and the face must not leave the picture. Judge the claim by the printed factors: is "does not require accurate alignment" right up to 15 px? Up to 30? Is a
# wrong size worse than a wrong place?
#
# In use, a miss need not stay: `vrn.reconstruct` finds landmarks in the first crop, and crops once more around them.
#
# <!-- teacher -->
# Right up to what training has shown, and no further. A wrong size is worse than a wrong place.

# %% crops-next [markdown]
# ## 6. "Arbitrary occlusions"
#
# The abstract says that the method works "for arbitrary facial poses and expressions", and section 1 extends this to occlusions. Again there is no number. Our training pictures have hair, hats, glasses and hands before some faces (notebook 02), so the networks are not unprepared. The test is cruder: a patch of noise that hides a given
# share of the face, anywhere.
#
# ### Exercise 3: hide a share of the face
#
# `face` is [h, w], True where the picture shows face. Give the smallest disc about pixel (`row`, `column`) that hides `share` of it: [h, w], True is hidden. The disc need not stay on the face. (Hint: how far away are the face's pixels, and how far is the nearest such share of them?)


# %% ex3
def disc(face, row, column, share):
    ### BEGIN SOLUTION
    rows, columns = torch.arange(face.shape[0]), torch.arange(face.shape[1])
    away = torch.hypot((rows - row)[:, None].float(), (columns - column)[None].float())
    return away <= away[face].quantile(share)
    ### END SOLUTION


exercises.check("08.3", disc)

# %% occlusions-live
columns = {}
for share in (0.0, 0.2, 0.5):
    hidden = ablations.hidden(pairs, share, torch.Generator().manual_seed(8))
    points = landmarks_in(detector, hidden.images, test_time_augmentation=False)
    chances = probabilities(models["guided"], hidden.images[some], False, points[some])
    columns |= {
        f"{share:.0%} hidden": hidden.images[some],
        f"{share:.0%}:<br>guided": viz.shade_volume(chances, large.grid.depth_scale),
    }
    off = (points - pairs.landmarks[..., :2]).norm(dim=-1).mean() * 192 / large.grid.width
    print(
        f"{share:.0%} hidden: the detector is off by {off:.1f} px of 192 in the mean, over 16 faces"
    )
columns["truth"] = viz.shade_volume(pairs.volumes[some], large.grid.depth_scale)
viz.show(
    viz.image_grid(columns, "Hidden faces, and what VRN-Guided makes of them"),
    "Four faces in rows, with nothing, a fifth and a half of them hidden by a patch, each with the"
    " reconstruction; the truth on the right.",
)

# %% occlusions
panels = {"NME": {}, "rigid NME": {}}
for model in ("guided", "vrn"):
    chosen = sorted(lines("occlusions", model=model), key=lambda line: line["share"])
    clean = chosen[0]["nme"]
    print(
        f"{model:7} nothing hidden {clean:.4f}; "
        + ", ".join(f"{line['share']:.0%}: x {line['nme'] / clean:.2f}" for line in chosen[1:])
    )
    for name, key in scores.items():
        panels[name][model] = (
            [100 * line["share"] for line in chosen],
            [line[key] for line in chosen],
        )
for name, key in scores.items():
    panels[name]["mean face, true pose"] = ((0, 50), (limits["mean face"][key],) * 2)
viz.show(
    viz.panels_figure(panels, "hidden share of the face (%)", "Shipped networks and occlusion"),
    "NME and rigid NME of VRN-Guided and of VRN over the hidden share of the face, with the mean"
    " face at the true pose as a level line.",
)

# %% occlusions-after [markdown]
# The reconstruction under the patch looks whole: the network has never seen a face with a hole, so it puts a face there. Whether it is *this* face nobody can know. What suffers? Compare how much the NME grows and how much the rigid NME: where the second grows far less, the shape stays plausible, and pose, place and size are what gets lost. And compare the
# two networks: guidance comes from a detector that is blinded by the same patch, and may help all the same.
#
# "Arbitrary" is a large word. Read the factors, and say it in your own: up to which share would you trust a reconstruction?
#
# <!-- teacher -->
# The rigid NME grows far less than the NME: the shape stays plausible, pose and place get lost. VRN-Guided loses less than plain VRN, although its detector is blinded by the same patch. A defensible limit is the share at which the NME has doubled.

# %% summary [markdown]
# ## Summary
#
# * Aligned means: voxel (d, r, c) lies behind pixel (r, c). The frontal target asks for the same face elsewhere.
# * On our held-out faces the frontal network has the smaller NME in its own frame. It leaves the pose out, and gives nearly everybody the same face. An error measure can reward an answer that ignores the picture: put the mean face beside it, and ask what the answer knows of the person.
# * Three seeds tell a difference from the luck of one training.
# * Crops may miss by about as much as training let them miss. Hidden parts are filled with a plausible face, and pose and place suffer first.
#
# **Discuss:** A measure rewarded a network that ignores the picture. Where else have you met a number that rewards the wrong thing?
#
# **Next:** [09_ablation_gaussian_pose_expression.ipynb](09_ablation_gaussian_pose_expression.ipynb) takes the other ablations: the size of the Gaussians, pose, expression, and the grid.
#
# <!-- teacher -->
# On the question to discuss: Accuracy on unbalanced classes, clicks, citations, benchmarks that leak into training. The remedy here is general: put the answer that knows nothing beside every result.
