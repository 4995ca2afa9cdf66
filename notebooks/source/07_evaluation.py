# ---
# jupyter:
#   vrn_lite:
#     about: the error from scratch, the paper's three tests and table 1, error curves, paired tests, best and worst cases
# ---

# %% title [markdown]
# # Evaluation
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/07_evaluation.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/07_evaluation.ipynb)
#
# **What you will learn.** How far a reconstruction is from the truth, in one number that you build yourself, and in which ways this number flatters. Which three tests the paper uses, and where its text contradicts itself. How our networks and four
# other methods do on them, beside the paper's own table and curves. Which differences are real and which are chance. What the best and the worst reconstructions look like, and what rendered faces can say about photographs.
#
# **You need** notebooks 01 and 06. **Time:** about 40 minutes of reading; the cells take about two minutes on two CPU cores, less on a GPU.
#
# Cells that only measure and draw are folded: click on ··· to read one.
#
# The paper is Jackson et al., ICCV 2017 ([arXiv:1703.07834](https://arxiv.org/abs/1703.07834)). This notebook follows its section 4, with table 1 and figures 7 and 8.

# %% set-up
# Set-up: run me first. On Colab this installs the package (20 s); elsewhere it is there already.
import importlib.util
import os
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("vrn_lite") is None:
    pass  # %pip install -q "vrn_lite @ git+https://github.com/OWNER/vrn_lite"
# before PyTorch: on shared machines, threads must not spin while they wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from itertools import product
from math import isfinite
from statistics import fmean

import torch
import trimesh
from IPython.display import Markdown, display
from scipy.spatial import cKDTree
from scipy.stats import wilcoxon

import vrn_lite as vrn
from vrn_lite import exercises, viz
from vrn_lite.align import rigid
from vrn_lite.evaluation import testsets
from vrn_lite.evaluation.predictors import (
    default_predictors,
    mean_face_predictor,
    oracle_predictor,
)
from vrn_lite.inference import landmarks_in, probabilities
from vrn_lite.metrics import error_curve, landmark_nme, normaliser, vertex_errors
from vrn_lite.studies.published import PAPER_SETS, paper_nme, results, summary

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% nme-text [markdown]
# ## 1. How far is one surface from another?
#
# A face that no training has seen, and what the shipped VRN makes of its picture. Both are surfaces in the same frame, in pixels. How far apart are they?

# %% one
face = vrn.faces.default()
source = face.name
network = vrn.load("vrn")
grid = network.preset.grid
pairs = next(vrn.heldout(face, {"ci": 4, "cpu": 16, "gpu": 16}[profile]).batches(network.preset))
one = int((pairs.yaw.abs() - 30).abs().argmin())  # a head that is turned a little
truth = pairs.mesh(one)
chance = probabilities(network, pairs.images[one : one + 1], test_time_augmentation=False)[0]
found = vrn.isosurface(chance, depth_scale=grid.depth_scale)
points = torch.tensor(found.vertices)  # [n, 3], voxel frame, pixels
# [m, 3], the true vertices that count: no wall, no neck, no eyes
goal = truth.vertices[truth.face].double()
print(
    f"{source} face, yaw {pairs.yaw[one]:.0f} degrees: {len(points):,} vertices found,"
    f" {len(goal):,} true ones count"
)
seen = {
    "image": pairs.images[one],
    "found": viz.shade_volume(chance, grid.depth_scale),
    "truth": viz.shade_volume(pairs.volumes[one], grid.depth_scale),
}
viz.show(
    viz.images_figure(seen, "A held-out face"),
    "A rendered face, the surface that the network finds in its picture, and the true surface.",
)

# %% pairs-text [markdown]
# Distances are taken between *corresponding* points: which point of the found surface belongs to the tip of the true nose? Nothing says so. The two meshes have different vertices, in different number, and the found one has a wall, too. There are two ways out.
#
# * **The nearest point.** For each true vertex, take the nearest found one. But if the whole face is 6 px too far to the right, the nearest point of the cheek is another point of the cheek, 2 px away: the error looks smaller than it is.
# * [**ICP**](GLOSSARY.md#icp) (iterative closest points). Take the nearest points, move the found surface rigidly (turn and shift) so that these pairs come together, take the nearest points again, and so on until nothing changes. Now the two surfaces lie on
#   each other, and the nearest point of the nose is the nose. The paper uses ICP *only* for this: the correspondences are kept, the motion is thrown away, and the distances are taken on the surface where the network had put it. An error of pose
#   or place is an error.
#
# Which is right can be tested where the correspondences are *known*: we take the true mesh itself and disturb it, so that vertex k still belongs to vertex k. *Predict* for each disturbance below: does the number come out too small, and with which correspondences?

# %% pairs-predict [markdown]
# For each disturbance (shift to the right, shift in depth, turn, larger, mean face): is the number too small with nearest points? And with ICP's correspondences?
#
# Nearest points are too kind in every row. ICP finds the true correspondences where the truth was only moved, so that NME is right there. A larger or another face cannot be brought to lie on the truth: its correspondences slide, and both numbers are off.
#
# <!-- teacher -->
# Asserted: nearest points are too small in all five rows, and a shift of 6 px in depth gives exactly 6 / d. The rigid NME of the three motions is nearly 0: it forgives them.


# %% known
d = float(normaliser(truth.landmark_points().double()))
every, middle = truth.vertices.double(), goal.mean(0)
angle = torch.deg2rad(torch.tensor(8.0, dtype=torch.float64))
turn = torch.tensor(
    [[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]], dtype=torch.float64
)
# the mean face in every face's place
means = pairs.camera(face.mesh().vertices.expand(len(pairs), -1, -1)).double()
disturbed = {
    "6 px right": every + torch.tensor([6.0, 0, 0]),
    "6 px away": every + torch.tensor([0, 0, 6.0]),
    "turned 8°": (every - middle) @ turn.T + middle,
    "10 % larger": (every - middle) * 1.1 + middle,
    "mean face": means[one],
}
bars = {
    "known correspondences": {},
    "nearest points": {},
    "ICP: NME": {},
    "rigid NME: after ICP's motion": {},
}
for name, vertices in disturbed.items():
    nearest = torch.from_numpy(cKDTree(vertices.numpy()).query(goal.numpy())[0])
    errors = vertex_errors(vertices, truth)
    values = (
        (vertices - every)[truth.face].norm(dim=1).mean() / d,
        nearest.mean() / d,
        errors.nme,
        errors.rigid,
    )
    for way, value in zip(bars, values, strict=True):
        bars[way][name] = float(value)
    print(
        f"{name:11} known {values[0]:.4f}   nearest {values[1]:.4f}   NME {values[2]:.4f}   rigid"
        f" NME {values[3]:.4f}"
    )
assert abs(bars["ICP: NME"]["6 px away"] - 6 / d) < 1e-6
assert all(bars["nearest points"][name] < bars["known correspondences"][name] for name in disturbed)

# %% known-plot
viz.show(
    viz.bars_figure(
        bars,
        "what was done to the true face",
        "mean distance / interocular distance",
        "Four ways to pair, where the truth is known",
    ),
    "Nearest points underestimate every disturbance; ICP's correspondences are right for motions,"
    " and wrong for a larger or another face.",
)

# %% known-after [markdown]
# For a face that is only moved or turned, ICP finds the true correspondences: a shift of 6 px gives exactly 6 / d. (It is a search, and may stop early, a vertex or two aside. On the built-in faces you may see that in the first row: then even NME says less than the truth.) The [rigid NME](GLOSSARY.md#rigid-nme) forgives the motion
# altogether. Nearest points are too kind every time.
#
# The last two rows are another matter. A face that is too large, or another person's, cannot be brought to lie on the truth. ICP turns and shifts it to wherever the gaps are small, and the correspondences **slide along the smooth wrong surface**: cheeks and forehead say nothing against that. What does it do to the numbers? Here is
# the mean face in the place of each of our held-out faces.

# %% slide
table = []
for index, mean in enumerate(means):
    real = pairs.mesh(index)
    mask, unit = real.face, float(normaliser(real.landmark_points().double()))
    start, end = mean[mask], real.vertices.double()[mask]
    errors = vertex_errors(mean, real)
    kept = float((rigid(start[None], end[None])(start[None])[0] - end).norm(dim=1).mean() / unit)
    moved = vrn.icp(mean, end).motion(start[None])[0] - start
    table.append(
        (
            float((start - end).norm(dim=1).mean() / unit),
            errors.nme,
            kept,
            errors.rigid,
            float(moved.norm(dim=1).mean() / unit),
        )
    )
known, slid, known_rigid, slid_rigid, slide = torch.tensor(table).T
print(
    f"mean face in the place of {len(means)} others; ICP moves it by {slide.mean():.4f} d in the"
    " mean"
)
for name, true, by_icp in (("NME", known, slid), ("rigid NME", known_rigid, slid_rigid)):
    below, above = int((by_icp < true).sum()), int((by_icp > true).sum())
    print(
        f"{name:9} with known correspondences {true.mean():.4f}, with ICP's {by_icp.mean():.4f}:"
        f" too small on {below}, too large on {above}"
    )
assert slid_rigid.mean() < known_rigid.mean()


# %% slide-after [markdown]
# **The rigid NME flatters**, every time: correspondences and motion are chosen so that it is small. On a smooth face it can be half of what the known correspondences give. **The NME errs both ways.** It pairs the points that lie nearest *after* ICP's motion. Where that motion was a slide and no correction, the nose is paired with a point beside the nose,
# and on the unmoved surface the slide is counted as an error. On some faces this outweighs the flattery. So one face's NME is rough, a mean over many is better, and a difference of a few thousandths says little. That holds for every number on this page: ours, and the paper's.
#
# **The normaliser** d is the distance of the outer corners of the eyes (landmarks 37 and 46) *in space*. Taken in the image, it would shrink as the head turns, to almost nothing in profile, and the same error would look
# larger and larger.
#
# ### Exercise 1: NME, once the correspondences are known
#
# `predicted` is [n, 3], `truth` is [m, 3], and true vertex k corresponds to `predicted[pairs[k]]`. `landmarks` [68, 3] are the true ones. Give the mean distance over d.


# %% ex1
def mean_error(predicted, truth, pairs, landmarks):
    ### BEGIN SOLUTION
    distances = (predicted[pairs] - truth).norm(dim=1)
    return distances.mean() / (landmarks[36] - landmarks[45]).norm()
    ### END SOLUTION


exercises.check("07.1", mean_error)

# %% steps-text [markdown]
# ### Step by step on the real reconstruction
#
# `vrn.icp` gives the motion and the correspondences. Three numbers come from one run of it: the **NME** as in the paper; the **rigid NME**, after ICP's motion, as in the paper's supplement; and the **depth-aligned NME**, without the mean difference in depth. Why the last one? A picture does not show how far
# away a head is, so each source of faces puts the origin of depth where it likes. A network that was trained on one source and tested on another is off by that difference, and this is no fault of its shape. Between sources we quote the depth-aligned number, and say so.

# %% steps
match = vrn.icp(points, goal)  # moves a copy of `points`
offsets = points[match.pairs] - goal  # on the surface as it is
settled = match.motion(points[None])[0][match.pairs] - goal  # after ICP's motion
depth = offsets.mean(0) * torch.tensor([0.0, 0.0, 1.0])
turned = truth.landmark_points()[[36, 45], :2].double().diff(dim=0).norm()
print(f"d: {d:.1f} px in space; in the image, at this yaw, it would be {turned:.1f} px")
by_hand = [float(rest.norm(dim=1).mean() / d) for rest in (offsets, settled, offsets - depth)]
errors = vertex_errors(found, truth)
for name, mine, package in zip(
    ("NME", "rigid NME", "depth-aligned NME"),
    by_hand,
    (errors.nme, errors.rigid, errors.depth_aligned),
    strict=True,
):
    print(f"{name:13} by hand {mine:.4f}   vertex_errors {package:.4f}")
    assert abs(mine - package) < 1e-9
at = {"as reconstructed": offsets, "after the rigid motion": settled}
skin = truth.triangles[truth.face[truth.triangles].all(1)]  # triangles of the face alone
parts = {"found": {"vertices": points, "triangles": found.faces, "opacity": 0.5}}
for name, rest in at.items():
    shares = torch.zeros(len(truth.vertices), dtype=torch.float64)
    shares[truth.face] = rest.norm(dim=1) / d
    parts[name] = {"vertices": truth.vertices, "triangles": skin, "intensity": shares}
steps = {f"error {name}": [name] for name in at} | {
    "found surface over it": ["found", "as reconstructed"]
}
look = {"intensity_name": "error / d", "intensity_range": (0, 0.2), "most_vertices": 5000}
viz.show(
    viz.meshes_figure(parts, "Where the error is", slider="shown", steps=steps, **look),
    "The true face, coloured by the distance to the corresponding points: as reconstructed, after"
    " the rigid motion, and with the found surface over it.",
)

# %% trimesh-text [markdown]
# ### A trap
#
# `trimesh.registration.icp` hands its options on to `procrustes`, and by default that one fits **scale and reflection** as well. For a rigid NME that is wrong: a face that is too large is shrunk before it is measured. The disturbed faces again:

# %% trimesh
plain = bars["rigid NME: after ICP's motion"]
subset = goal[torch.randperm(len(goal), generator=torch.Generator().manual_seed(0))[:500]]


def rigid_by_trimesh(vertices, **options):
    """Rigid NME with trimesh's ICP, which here moves the truth onto the other face."""
    motion, _, _ = trimesh.registration.icp(
        subset.numpy(), vertices.numpy(), max_iterations=50, **options
    )
    return (
        cKDTree(vertices.numpy()).query(trimesh.transform_points(goal.numpy(), motion))[0].mean()
        / d
    )


for name in ("10 % larger", "mean face"):
    kind, strict = (
        rigid_by_trimesh(disturbed[name]),
        rigid_by_trimesh(disturbed[name], scale=False, reflection=False),
    )
    print(
        f"{name:11} trimesh by default {kind:.4f}   scale and reflection off {strict:.4f}   ours"
        f" {plain[name]:.4f}"
    )
assert rigid_by_trimesh(disturbed["10 % larger"]) < 0.5 * plain["10 % larger"]

# %% bounds-text [markdown]
# ### A floor and a bound
#
# Two answers need no network, and stand beside every result. The **oracle** returns the true volume: what is left is the error of the grid, and a network can hardly be better (only soft values go below it, and on coarse grids only: notebook 09, section 6). The **mean face at the true pose** always returns the same face, but is *told* pose, place and scale. It
# knows nothing of the person; a network that loses to it has not yet found the pose as well as it was given here.

# %% bounds
for size in {
    "ci": ("tiny", "lite"),
    "cpu": ("tiny", "lite", "colab"),
    "gpu": ("tiny", "lite", "colab", "paper"),
}[profile]:
    preset = vrn.preset(size)
    limits = {"oracle": oracle_predictor(preset), "mean face": mean_face_predictor(face, preset)}
    testset = vrn.heldout(face, {"ci": 4, "cpu": 16, "gpu": 64}[profile])
    means = vrn.evaluate(limits, testset).mean()
    print(f"{size:6} {' x '.join(map(str, preset.grid.shape))}")
    print(means[["nme", "nme_rigid"]].round(4).to_string(), "\n")
    assert means.nme["oracle"] < means.nme["mean face"]

# %% protocols-text [markdown]
# ## 2. Three tests
#
# The paper tests on three sets, two of them rendered by the authors from scans. We render all three, with faces and lights of our own, held-out identities and fixed seeds.
#
# * **Florence** (here `testsets.florence`): scans of people with a neutral face, shown at pitch -15, 20 and 25 degrees and at five yaws from -80 to 80.
# * **BU-4DFE** (`testsets.bu4dfe`): happy and surprised faces at pitch -20, 0 and 20 and seven yaws from -80 to 80, under light of random direction and colour.
# * **AFLW2000-3D** (`testsets.aflw2000`): photographs from the wild. Everything is random; |yaw| is distributed as in that set, with many more frontal faces than profiles.
#
# **Where the paper contradicts itself.** It says of Florence that each face was rendered "in 20 different poses", and then names three pitches and five rotations, which makes 15. We render the 15. And it speaks of "seven *roll* rotations" of BU-4DFE from -80 to 80 degrees. Roll is the rotation in the
# image plane; what its pictures show is yaw. One person of each set:

# %% florence
size = {"ci": "lite", "cpu": "colab", "gpu": "colab"}[profile]
paper = results("paper")


def sheet(protocol, title):
    """One person in all poses of a protocol: a column a yaw, a row an expression and pitch."""
    images = torch.cat([batch.images for batch in protocol(face, len(protocol.grid)).batches(size)])
    return viz.image_grid(
        {
            f"{yaw:.0f}°": images[number :: len(protocol.yaws)]
            for number, yaw in enumerate(protocol.yaws)
        },
        title,
    )


for name, protocol in {"florence": testsets.florence, "bu4dfe": testsets.bu4dfe}.items():
    shape = " x ".join(
        str(len(values)) for values in (protocol.expressions, protocol.pitches, protocol.yaws)
    )
    poses = (
        f"{shape} = {len(protocol.grid)} pictures of each of {protocol.size // len(protocol.grid)}"
        " people"
    )
    print(
        f"{PAPER_SETS[name]:8} expressions x pitches x yaws: {poses}; the paper has"
        f" {paper['images'][PAPER_SETS[name]]} pictures"
    )
viz.show(
    sheet(
        testsets.florence,
        f"Florence: pitch {', '.join(map(str, testsets.florence.pitches))} degrees (rows), yaw"
        " (columns)",
    ),
    "One person with a neutral face in fifteen poses: three pitches in rows, five yaws in columns.",
)

# %% bu4dfe
viz.show(
    sheet(testsets.bu4dfe, "BU-4DFE: happy, then surprised (rows), yaw (columns)"),
    "One person, happy in the upper three rows and surprised in the lower three, at three pitches"
    " and seven yaws.",
)

# %% aflw2000
wild = next(testsets.aflw2000(face, 16).batches(size))
order = wild.yaw.argsort().view(8, 2)
columns = {
    f"{wild.yaw[a]:.0f}°, {wild.yaw[b]:.0f}°": wild.images[[a, b]] for a, b in order.tolist()
}
viz.show(
    viz.image_grid(columns, "AFLW2000-3D: everything at random, sorted by yaw"),
    "Sixteen people in random poses, light, hair, hats and glasses, sorted by yaw from left to"
    " right.",
)

# %% protocols-after [markdown]
# The poses are the paper's, the pictures are not: these are rendered faces, and the networks learned from rendered faces of the same kind (notebook 02). This makes the test easier than the paper's in one way, and the smaller grid and the shorter training make the networks weaker in another. So compare the *order* of the methods with the paper's, and the
# shape of curves. Do not compare the numbers as if they came from the same pictures.
#
# **If you hold the real sets,** the same tests run on your copy, for example `vrn-lite evaluate vrn --protocol aflw2000 --data AFLW2000 --basel MODELS`; the README says which files go where, and that nobody here has been able to try it.
#
# ## 3. A test, live
#
# The shipped VRN and VRN-Guided, on the first pictures of Florence. VRN-Guided gets the landmarks that the shipped detector finds; once more the true ones, as a bound. Each network is asked once, without averaging over shifted copies.

# %% live
few = {"ci": 2, "cpu": 15, "gpu": 240}[profile]
detector, guided = vrn.load("landmarks"), vrn.load("guided")
testset = testsets.florence(face, few).seen_by(detector, test_time_augmentation=False)
predictors = default_predictors(
    {"vrn": network, "guided": guided}, testset, test_time_augmentation=False
)
scores = vrn.evaluate(predictors, testset)
oracle = scores.of("oracle").frame.nme.to_numpy()
for name in predictors:
    # at this size no network beats the true volume, on no face
    assert name == "oracle" or (oracle < scores.of(name).frame.nme.to_numpy()).all()
Markdown(summary(scores))

# %% live-after [markdown]
# The last column is the paper's number, where it has one. A few pictures of one person say little, as we shall see. (On the built-in faces, read the depth-aligned column: the networks were trained on ICT-FaceKit faces.)
#
# ## 4. Table 1
#
# The whole sets take too long for a class, so the package carries their results with every picture's error: `vrn_lite.studies.published.results()`, made by `vrn-lite reproduce`. Two kinds of networks:
#
# * **shipped**: 128 pixels, trained for hours, with budgets that are *not* equal (the README has them); the two regression networks are those from scratch;
# * **from scratch**: 64 pixels, and the same number of samples for every network. The comparison is fair, and the networks are weak.
#
# The others, all real:
#
# * **3DDFA-like**: a network that regresses pose, identity and expression of a face *model*, and improves its own estimate a few times. After 3DDFA (Zhu et al., 2016), which the paper compares with.
# * [**EOS**](GLOSSARY.md#eos): fits the same face model to landmarks, without a network (Huber et al., 2016); the paper's second rival. Its landmarks come from our detector, and once from the truth.
# * **vertex regression**: all vertices from one network, which the paper's section 3.2 argues against.
#
# On ICT-FaceKit faces, 3DDFA-like and EOS have an advantage that the paper's rivals did not have: the test faces come from **the very model that they fit**. Somewhere among its parameters, the truth is exact. Section 5 takes that away.

# %% table tags=["hide-input"]
ours = results()
home, abroad = ours["study"]["source"], ours["study"]["other"]
NAMES = {
    "VRN": "vrn",
    "VRN-Multitask": "multitask",
    "VRN-Guided": "guided",
    "3DDFA-like": "parameters",
    "EOS": "eos",
    "vertex regression": "vertices",
}
BOUNDS = {
    "VRN-Guided, true landmarks": ("guided", "true landmarks"),
    "EOS, true landmarks": ("eos, true landmarks", "network"),
}
BOUNDS |= {"mean face, true pose": (None, "mean face"), "oracle": (None, "oracle")}
PARTS = {"shipped": "shipped_table", "from scratch": "scratch_table"}


def line(part, name, protocol, faces=home):
    """A method's line of the results; None where it has none."""
    model, method = BOUNDS.get(name, (NAMES.get(name), "network"))
    wanted = {"method": method, "protocol": protocol, "faces": faces} | (
        {} if model is None else {"model": model}
    )
    return next((line for line in ours[PARTS[part]] if wanted.items() <= line.items()), None)


def cell(part, name, protocol):
    """A method's NME as text, bold where no other one does better; the paper's in italics."""
    if part == "paper":
        theirs = None if name in BOUNDS else paper_nme(NAMES[name], protocol)
        return "" if theirs is None else f"*{theirs:.4f}*"
    known = {one: found["nme"] for one in (*NAMES, *BOUNDS) if (found := line(part, one, protocol))}
    best = min(value for one, value in known.items() if one in NAMES)
    return (
        ""
        if name not in known
        else f"**{known[name]:.4f}**"
        if known[name] == best
        else f"{known[name]:.4f}"
    )


columns = list(product(PAPER_SETS, ("shipped", "from scratch", "paper")))
rows = [
    "| NME | " + " | ".join(f"{PAPER_SETS[protocol]}, {part}" for protocol, part in columns) + " |",
    "|---" * (len(columns) + 1) + "|",
]
rows += [
    f"| {name} | " + " | ".join(cell(part, name, protocol) for protocol, part in columns) + " |"
    for name in (*NAMES, *BOUNDS)
]
Markdown("\n".join(rows))

# %% verdict-text [markdown]
# Bold: the best of the methods that see the picture alone. The last four rows are bounds: they are given the landmarks, the pose, or all.
#
# The paper's findings are an order. Does it hold here? *Predict* before you run the cell; think of the budgets of the shipped networks, and of the model that the rivals know.

# %% verdict-predict [markdown]
# The paper has VRN ahead of 3DDFA and EOS, and VRN-Guided ahead of VRN. Which of these will hold here, for the shipped networks and for those from scratch?
#
# VRN-Guided ahead of VRN, most likely: landmarks help in any budget. VRN ahead of its rivals, perhaps not: they know the model that the test faces come from, and with a small budget VRN has yet to learn pose. The table has the verdict, row by row.
#
# <!-- teacher -->
# Collect predictions as a show of hands before the cell is run. The point is not to be right but to name the reason: budget, known model, detector.


# %% verdict
CLAIMS = (
    ("VRN", "3DDFA-like"),
    ("VRN", "EOS"),
    ("VRN-Guided", "VRN"),
    ("VRN-Guided", "3DDFA-like"),
    ("VRN-Guided", "EOS"),
    ("VRN", "vertex regression"),
)


def ahead(part, a, b, protocol, faces=home, score="nme"):
    """Whether one method's mean error is smaller than another's, in words."""
    if part == "paper":
        first, second = (paper_nme(NAMES[name], protocol) for name in (a, b))
    else:
        first, second = ((line(part, name, protocol, faces) or {}).get(score) for name in (a, b))
    return "" if first is None or second is None else "yes" if first < second else "**no**"


def claims(parts, faces, score):
    """A table of the paper's findings, and whether they hold."""
    columns = list(product(parts, PAPER_SETS))
    rows = [
        "| claim | "
        + " | ".join(f"{PAPER_SETS[protocol]}, {part}" for part, protocol in columns)
        + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    rows += [
        f"| {a} ahead of {b} | "
        + " | ".join(ahead(part, a, b, protocol, faces, score) for part, protocol in columns)
        + " |"
        for a, b in CLAIMS
    ]
    return Markdown("\n".join(rows))


claims(("paper", "shipped", "from scratch"), home, "nme")

# %% verdict-after [markdown]
# How to read a **no**. Three things differ from the paper, and each can turn a row:
#
# * **The model is known.** EOS needs little more than good landmarks to find a face that its model can express exactly. In the paper, EOS met scans of real people.
# * **The budget.** A volume network has to learn what the rivals are given: that faces look like faces. The paper's networks saw 60,000 pictures again and again; those from scratch saw 30,000, each once.
# * **Guided and EOS depend on a detector.** Ours is one more small network. The rows with true landmarks show how much a better one would be worth to each.
#
# The second one can be looked at. The networks from scratch were copied on their way, and each copy was measured on the same held-out faces, frontal to profile. *Predict:* who learns fastest at first, and do curves cross? (NME, and in brackets the rigid NME.)

# %% budget-predict [markdown]
# Who learns fastest at first? Do curves cross?
#
# VRN-Guided: pose and place are given to it. Of the others, those that have fewer numbers to find are quick at first, and those that have to learn what faces look like catch up later, so curves may cross.
#
# <!-- teacher -->
# Read the printed lines: how many samples does VRN-Guided need to be as good as VRN at its end? Between 4,000 and 16,000 samples the lines of VRN and of 3DDFA-like are close; have the class say what would settle it (more seeds, not more faces).


# %% budget
panels = {"NME": {}, "rigid NME": {}}
for name, model in NAMES.items():
    steps = [
        line for line in ours["by_samples"] if line["model"] == model and line["samples"] > 2000
    ]
    if steps:  # EOS has nothing to learn
        for panel, key in zip(panels, ("nme", "nme_rigid"), strict=True):
            panels[panel][name] = (
                [line["samples"] for line in steps],
                [line[key] for line in steps],
            )
        print(
            f"{name:17} "
            + "   ".join(
                f"{line['samples']:,}: {line['nme']:.3f} ({line['nme_rigid']:.3f})"
                for line in steps
            )
        )
viz.show(
    viz.panels_figure(panels, "samples", "From scratch: error over training samples"),
    "NME and rigid NME of the networks from scratch over the number of training samples, a curve"
    " for each.",
)

# %% budget-after [markdown]
# Copies on the way were taken at the full learning rate, which falls only over the last third: part of the last step down is its work, not that of the samples. Does more training bring VRN past 3DDFA-like? If the gap at the end is no smaller than before, the budget is not the reason.
#
# Then look at the right panel. What a rigid motion takes away was an error of pose, place and size in depth: compare for VRN how much is left. And VRN-Guided sees the same pictures, with landmarks besides: find the number of samples after which it is as good as VRN at its very end. What plain VRN lacks most is not the shape of faces, but where they are. A cascade that draws its own estimate and looks
# again, as 3DDFA does, is one answer to that; landmarks as input are the paper's. (Section 5 shows at which yaw it goes astray.)
#
# A mean says nothing of how often a method fails. Figures 7 and 8 of the paper show the whole distribution: for each error, the share of faces that are at least as good.
#
# <!-- teacher -->
# In the stored results the gap between VRN and 3DDFA-like does not close from 8,192 samples on, so the budget alone is not the reason; and a rigid motion takes most of VRN's error away, so pose and place are.

# %% curves
thresholds, points_of = (
    paper["share_of_images_with_nme_below"]["thresholds"],
    paper["share_of_images_with_nme_below"],
)
mine, theirs = {}, {}
for part, protocol in product(PARTS, PAPER_SETS):
    page, known = f"{PAPER_SETS[protocol]}, {part}", points_of[PAPER_SETS[protocol]]
    mine[page], theirs[page] = {}, {}
    for name in NAMES:
        found = line(part, name, protocol)
        if found is None:
            continue
        curve = error_curve(torch.tensor(found["per_face"]["nme"]), limit=0.2, steps=21)
        mine[page][name] = (curve.thresholds, curve.shares)
        published = known.get(name.removesuffix("-like"))
        if published:
            theirs[page][name] = (thresholds, published)
        share = f"{float(curve.shares[10]):4.0%}" + (
            "" if published is None else f" (paper {published[-1]:.0%})"
        )
        print(
            f"{page:25} {name:17} area up to 0.2: {curve.area:.3f}   above 0.2:"
            f" {curve.failures:5.1%}   up to 0.1: {share}"
        )
viz.show(
    viz.compared_figure(
        mine,
        theirs,
        "NME",
        "share of faces with at most this NME",
        "Cumulative error curves",
        slider="test",
    ),
    "Cumulative error curves of six methods, with the paper's points behind them, dashed; a slider"
    " chooses the test and the networks.",
)


# %% curves-after [markdown]
# Two things to look for. *Where a curve begins to rise* is a method's best case, and the oracle says that no volume of 128 voxels can begin at 0. *How slowly it arrives at the top* are its failures. In the paper, the curves of 3DDFA and EOS cross on AFLW2000-3D: EOS is better on easy faces, and fails more often. A
# single mean hides that.
#
# <!-- teacher -->
# A mean can be ruled by a few failures; a curve shows them as its slow end. Ask which of two methods they would ship: the better median, or the rarer failure.

# %% curves-next [markdown]
# ### Exercise 2: area under the curve
#
# The area under the cumulative curve, from 0 to a limit, divided by the limit, so that 1 is the best. There is an easy exact way: with one face of error e, the curve is 0 before e and 1 after it. What is its area up to the limit? And if e is above the limit? The curve of n faces is the mean of n such steps. `errors` is [n].


# %% ex2
def area(errors, limit):
    ### BEGIN SOLUTION
    return (limit - errors).clamp(min=0).mean() / limit
    ### END SOLUTION


exercises.check("07.2", area)


# %% ex2-solution [markdown]
# A step at e has the area limit - e, or none where e is above the limit.

# %% yaw-text [markdown]
# ## 5. By pose, and on faces of another source
#
# **Large pose** is in the paper's title. It reports the NME of VRN-Guided on Florence for each yaw (section 6): from 0.0434 at 0 to 0.0635 at -80 degrees. In profile half of the face is not seen, so all of it has to be guessed. *Predict:* whose curve bends most?


# %% yaw-predict [markdown]
# Whose curve bends most from the front to the profile?
#
# Methods that have to find the pose by themselves: plain VRN from scratch, and the regressions. VRN-Guided is given the places of the landmarks, and the mean face the pose: theirs are flatter.
#
# <!-- teacher -->
# The last number of each printed line, profile over frontal, says it. In the paper it is 1.46 for VRN-Guided. Where ours is near 1, it is not because profiles are easy, but because pose was most of the difficulty and is given away.


# %% yaw tags=["hide-input"]
def by_yaw(found, score="nme"):
    """Mean error at each yaw of Florence."""
    near = [
        min(testsets.florence.yaws, key=lambda yaw: abs(yaw - value))
        for value in found["per_face"]["yaw"]
    ]
    return testsets.florence.yaws, [
        fmean(e for e, at in zip(found["per_face"][score], near, strict=True) if at == yaw)
        for yaw in testsets.florence.yaws
    ]


known = {
    "VRN-Guided": (
        [-80, -40, 0, 40, 80],
        [
            paper["effect_of_pose_florence_guided_nme_by_yaw"][f"{yaw}"]
            for yaw in (-80, -40, 0, 40, 80)
        ],
    )
}
every_name = ("VRN", "VRN-Multitask", "VRN-Guided", "3DDFA-like", "EOS", "mean face, true pose")
pages = {
    part: {name: by_yaw(found) for name in every_name if (found := line(part, name, "florence"))}
    for part in PARTS
}
for part, curves in pages.items():
    for name, (_, values) in curves.items():
        print(
            f"{part:12} {name:20} "
            + "  ".join(f"{value:.3f}" for value in values)
            + f"   profile / frontal {(values[0] + values[-1]) / 2 / values[2]:.2f}"
        )
print(
    f"{'paper':12} {'VRN-Guided':20} "
    + "  ".join(f"{value:.3f}" for value in known["VRN-Guided"][1])
)
viz.show(
    viz.compared_figure(
        pages,
        dict.fromkeys(pages, known),
        "yaw (degrees)",
        "NME",
        "Florence by yaw",
        slider="networks",
    ),
    "NME of each method at the five yaws of Florence, with the paper's VRN-Guided behind, dashed; a"
    " slider chooses the networks.",
)


# %% yaw-after [markdown]
# The mean face is given the pose, so its line is flat: it is turned together with the truth, and a turn changes no distance. Where another line bends, it pays for *finding* the pose, or for guessing what it cannot see.
#
# **Cross-database.** All networks here, and the face model of EOS and 3DDFA-like, come from ICT-FaceKit faces. Now the test faces are procedural ones: another head, sculpted by code, with other proportions and another way of smiling. No method has seen one. The true model class is of no use any more; a rival can only answer with an
# ICT face. A volume can be anything. This is what the paper's rivals always face with real people. Depth origins differ, so the number is the depth-aligned NME.


# %% cross tags=["hide-input"]
def everywhere(name, faces):
    """Mean depth-aligned NME over the three tests; None without results."""
    found = [line("shipped", name, protocol, faces) for protocol in PAPER_SETS]
    return None if None in found else fmean(one["nme_depth_aligned"] for one in found)


shown = (
    "VRN",
    "VRN-Multitask",
    "VRN-Guided",
    "3DDFA-like",
    "EOS",
    "vertex regression",
    "mean face, true pose",
    "oracle",
)
bars = {
    f"{faces} faces": {
        name.replace("VRN-", "VRN "): value
        for name in shown
        if (value := everywhere(name, faces)) is not None
    }
    for faces in (home, abroad)
}
for name in bars[f"{home} faces"]:
    near, far = (bars[f"{faces} faces"][name] for faces in (home, abroad))
    print(f"{name:22} {home} {near:.4f}   {abroad} {far:.4f}   x {far / near:.2f}")
for faces, values in bars.items():
    print(
        f"order on {faces}: "
        + ", ".join(
            sorted(
                (name for name in values if name not in ("oracle", "mean face, true pose")),
                key=values.get,
            )
        )
    )
viz.show(
    viz.bars_figure(
        bars,
        "method",
        "depth-aligned NME, mean of the three tests",
        "Within a database and across databases (shipped networks)",
    ),
    "Depth-aligned NME of each method on faces of its training source, and of another one.",
)

# %% cross-claims
display(claims(("shipped", "from scratch"), home, "nme_depth_aligned"))
claims(("shipped", "from scratch"), abroad, "nme_depth_aligned")

# %% cross-after [markdown]
# Both tables use the depth-aligned NME, so only the faces differ. Claims that turn from **no** to yes were lost to the known model alone. Those that stay **no** have another reason. (The mean face of this figure is each source's own, so it stays strong on both: it is given more than anyone.)
#
# ## 6. Are the differences real?
#
# One mean is smaller than another. Would it still be on other faces? Both methods met the *same* faces, so look at the difference of their errors face by face: what makes a face hard is hard for both, and falls out.
#
# * The [**Wilcoxon signed-rank test**](GLOSSARY.md#wilcoxon-signed-rank-test) asks whether the differences lie around zero, from their ranks alone. A small p says: if the methods were alike, a result like this would be rare.
# * The [**bootstrap**](GLOSSARY.md#bootstrap) draws the faces again, with replacement, a few thousand times, and looks how much the mean difference moves. The middle 95 % are the interval. If it does not hold 0, we believe the sign.
#
# Both take the pictures for independent. They are not: the pictures of Florence show a few people in fifteen poses each. Whether a method likes a *person* is decided once for each of them, not fifteen times. The last column draws *people* again instead of pictures.

# %% tests tags=["hide-input"]
TESTED = (
    ("VRN-Multitask", "VRN"),
    ("VRN-Guided", "VRN"),
    ("VRN", "3DDFA-like"),
    ("VRN", "EOS"),
    ("VRN-Guided", "EOS"),
)
# pictures of a person
POSES = {
    "florence": len(testsets.florence.grid),
    "bu4dfe": len(testsets.bu4dfe.grid),
    "aflw2000": 1,
}


def errors_of(part, name, protocol):
    """Every picture's NME; a picture without any surface counts 1."""
    return torch.tensor(line(part, name, protocol)["per_face"]["nme"], dtype=torch.float64).clamp(
        max=1
    )


def interval(differences, redraws=2000):
    """The middle 95 % of the means of redrawn differences."""
    picks = torch.randint(
        len(differences), (redraws, len(differences)), generator=torch.Generator().manual_seed(7)
    )
    return (
        differences[picks]
        .mean(1)
        .quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
        .tolist()
    )


rows = [
    (
        "| networks | test | a - b | mean difference | 95 % by picture | p (Wilcoxon) | 95 % by"
        " person |"
    ),
    "|---" * 7 + "|",
]
verdicts = {}
for part, protocol, (a, b) in product(PARTS, PAPER_SETS, TESTED):
    if line(part, a, protocol) and line(part, b, protocol):
        differences = errors_of(part, a, protocol) - errors_of(part, b, protocol)
        people = torch.stack([chunk.mean() for chunk in differences.split(POSES[protocol])])
        (low, high), (least, most), p = (
            interval(differences),
            interval(people),
            wilcoxon(differences).pvalue,
        )
        verdicts[part, protocol, a, b] = (
            "no sign" if least <= 0 <= most else f"{a if most < 0 else b} is better"
        )
        ends = f"{low:+.4f} to {high:+.4f} | {p:.1g} | {least:+.4f} to {most:+.4f}"
        rows.append(
            f"| {part} | {PAPER_SETS[protocol]} | {a} - {b} | {differences.mean():+.4f} | {ends} |"
        )
for a, b in TESTED:
    said = [
        f"{PAPER_SETS[protocol]}, {part}: {word}"
        for (part, protocol, x, y), word in verdicts.items()
        if (x, y) == (a, b)
    ]
    print(f"{a} against {b}, by person:", "; ".join(said))
Markdown("\n".join(rows))

# %% differences
shares = torch.linspace(0, 1, 41, dtype=torch.float64)
curves = {}
for a, b in TESTED:
    if line("shipped", a, "aflw2000") and line("shipped", b, "aflw2000"):
        differences = errors_of("shipped", a, "aflw2000") - errors_of("shipped", b, "aflw2000")
        curves[f"{a} - {b}"] = (differences.quantile(shares), shares)
        print(
            f"{a} has the smaller error than {b} on {(differences < 0).double().mean():.0%} of the"
            " faces"
        )
viz.show(
    viz.curves_figure(
        curves,
        "difference in NME",
        "share of faces with at most this difference",
        "AFLW2000-3D, shipped networks, face by face",
    ),
    "The distribution of the differences in error, face by face; the share at 0 is how often the"
    " first method is the better one.",
)


# %% tests-after [markdown]
# Read the figure at x = 0: the height of a curve there is the share of faces on which the first method is better. A steep curve around 0 means that the two hardly differ; a long tail to the right, that the first one fails where the second does not.
#
# The author's thesis made such a test for **Multitask against VRN**, and found no significant difference. What do you find, and is it the same for the shipped networks (unequal budgets) and those from scratch (equal budgets, but one training run each)? Mind that a test over faces says nothing about *training again*: with another seed, both networks would be others.
# Notebook 08 repeats trainings for that reason. A handful of people, as in our BU-4DFE, are few for a bootstrap: take that interval as a hint. And mind the number of tests: at a level of 5 %, one row in twenty looks real if nothing is.
#
# ### Exercise 3: a paired bootstrap
#
# `a` and `b` are the errors [n] of two methods on the same n faces. `picks` is [k, n]: in each of its k rows, n numbers of faces, drawn with replacement. Give the 2.5 % and 97.5 % quantiles of the mean difference a - b over the rows. (`x.quantile(torch.tensor([...]))` gives several at once.)


# %% ex3
def bootstrap(a, b, picks):
    ### BEGIN SOLUTION
    means = (a - b)[picks].mean(1)
    return means.quantile(torch.tensor([0.025, 0.975]))
    ### END SOLUTION


exercises.check("07.3", bootstrap)

# %% ex3-solution [markdown]
# The same faces are drawn for a and for b. Drawn apart, the interval would be wider: it would hold the difference between faces, too.

# %% cases-text [markdown]
# ## 7. The best and the worst
#
# Every picture of the test is made from its number, so any of them can be made again. We look up the best, a middling and the two worst pictures of AFLW2000-3D in the stored errors, for VRN and for VRN-Guided, draw them, and reconstruct them now.

# %% cases tags=["hide-input"]
models = {"VRN": network, "VRN-Guided": guided}
among = {"ci": 16, "cpu": 256, "gpu": 256}[profile]
score = "nme" if face.name == home else "nme_depth_aligned"
wanted = {}
for name in models:
    stored = line("shipped", name, "aflw2000", face.name)["per_face"][score][:among]
    order = sorted((k for k, value in enumerate(stored) if isfinite(value)), key=stored.__getitem__)
    print(f"{name}: {len(stored) - len(order)} of {len(stored)} pictures without any surface")
    for which, number in {
        "best": order[0],
        "middling": order[len(order) // 2],
        "second worst": order[-2],
        "worst": order[-1],
    }.items():
        wanted[name, which] = (number, stored[number])


def made_again(model, pairs, index):
    """Image, reconstruction, its surface and its errors, of one picture of a batch."""
    image, truth = pairs.images[index : index + 1], pairs.mesh(index)
    landmarks = landmarks_in(detector, image, test_time_augmentation=False)
    # plain VRN does not look at the landmarks
    chance = probabilities(model, image, False, landmarks)[0]
    surface = vrn.isosurface(chance, depth_scale=grid.depth_scale)
    reliefs = [
        viz.shade_volume(volume, grid.depth_scale) for volume in (chance, pairs.volumes[index])
    ]
    return (
        image[0],
        *reliefs,
        surface,
        truth,
        vertex_errors(surface, truth),
        float(landmark_nme(landmarks, pairs.landmarks[index : index + 1])),
    )


cases = {}
last = max(number for number, _ in wanted.values())
for chunk, batch in enumerate(testsets.aflw2000(face, last + 1).batches(network.preset)):
    for (name, which), (number, _) in wanted.items():
        if number // testsets.CHUNK == chunk:
            cases[name, which] = made_again(models[name], batch, number % testsets.CHUNK)
for key, (number, before) in wanted.items():
    errors = cases[key][5]
    now = errors.nme if score == "nme" else errors.depth_aligned
    print(
        f"{', '.join(key):24} picture {number:3}: stored {before:.4f}, now {now:.4f}; rigid"
        f" {errors.rigid:.4f}; detected landmarks {cases[key][6]:.4f}"
    )
columns = {}
for name in models:
    shown = [cases[name, which] for which in ("best", "middling", "second worst", "worst")]
    columns |= {
        f"{name}:<br>{what}": torch.stack([case[k] for case in shown])
        for k, what in enumerate(("image", "found", "truth"))
    }
viz.show(
    viz.image_grid(columns, "From best (above) to worst (below)"),
    "The best, a middling and the two worst pictures of VRN and of VRN-Guided, in rows: image,"
    " reconstruction and truth.",
)

# %% cases-meshes
parts, steps = {}, {}
for key in [(name, which) for name in models for which in ("worst", "best")]:
    _, _, _, surface, truth, errors, _ = cases[key]
    shares = torch.zeros(len(truth.vertices), dtype=torch.float64)
    shares[truth.face] = errors.distances
    aside = torch.tensor([0.4 * grid.width, 0.0, 0.0])
    label = f"{', '.join(key)} (NME {errors.nme:.3f})"
    parts[f"{label}: found"] = {
        "vertices": torch.tensor(surface.vertices) - aside,
        "triangles": surface.faces,
    }
    used = truth.triangles[truth.face[truth.triangles].all(1)]
    parts[f"{label}: error"] = {
        "vertices": truth.vertices + aside,
        "triangles": used,
        "intensity": shares,
    }
    steps[label] = [f"{label}: found", f"{label}: error"]
look = {"intensity_name": "error / d", "intensity_range": (0, 0.3), "most_vertices": 2800}
viz.show(
    viz.meshes_figure(
        parts,
        "Found (left); the true face, coloured by its error (right)",
        slider="case",
        steps=steps,
        **look,
    ),
    "The found surface beside the true face coloured by its error, for the worst and best pictures"
    " of VRN and VRN-Guided.",
)

# %% cases-after [markdown]
# The printed numbers are the stored error, the one of now (they should agree), the rigid one, and the detector's landmark error on this picture. Look at the worst ones. Is the *shape* of the face wrong, or its pose, place or size? Compare the error with its rigid part, printed above: what a rigid motion takes away was a matter of pose and place. Is something before the face, a hand, hair, glasses? And does VRN-Guided fail on the same pictures as VRN,
# or on those where the detector failed?
#
# <!-- teacher -->
# Usually the rigid error of the worst cases is a fraction of their NME: the shape is a face, in the wrong place. VRN-Guided fails where its detector failed; the last number of each line shows it.

# %% cases-next [markdown]
# ## 8. What rendered faces can say about photographs
#
# All pictures of this page are drawn. What may you conclude from them?
#
# **What transfers.** The *measure*: the same definition, code and traps as for real scans; `vrn.nme` takes any two meshes. The *method*: what a volume can hold at a given grid (the oracle), what alignment, guidance and profile views cost one and the same network, all else equal. Differences between methods that hold on *both* sources of faces, with intervals
# that exclude 0, have a good chance to hold on a third. And on photographs the networks do find place, size and overall shape (notebook 00), though they have never seen one.
#
# **What does not.** The *absolute numbers*: our test pictures come from the same drawing code as the training pictures. On photographs every network here will do worse than its row, and we cannot say by how much, for there is no photograph with a known truth in this package. *Appearance*: real skin, hair, beards, light and cameras vary in ways that no
# drawing code foresees. *Identity*: a hundred modes of one face model, or the sculpted head, are not mankind. And *any comparison with a method that knows the model* (EOS, 3DDFA-like on ICT-FaceKit faces). Look at the procedural faces for that.
#
# **What the paper had and we do not.** About 60,000 training images made from real photographs ([300W-LP](GLOSSARY.md#300w-lp)), with 3D faces fitted to them; the networks' larger grid and longer training; a landmark detector trained on photographs; and test sets from real scans. One thing to know about those, too: the "truth" of 300W-LP and AFLW2000-3D
# is itself a fitted face model, not a measurement. On these, a method that learned from such fits is judged by more of the same. BU-4DFE and Florence are scans, and there the paper's advantage over its rivals is larger.

# %% summary [markdown]
# ## Summary
#
# * NME is the mean distance of corresponding points, over the 3D distance of the eyes. ICP finds the correspondences and is then forgotten; on a smooth wrong surface they slide, so that the rigid NME flatters and the NME is rough. Scale and reflection must be off.
# * The oracle and the mean face at the true pose tell what a number is worth.
# * A table gives means, a curve gives failures, a paired test tells a difference from chance. Count people, not pictures.
# * On faces of their own model, EOS and 3DDFA-like know what others must learn. Faces of another source take that away.
#
# **Discuss:** A paper reports one mean NME for each method. Which three more numbers would you ask for?
#
# **Next:** [08_ablation_alignment.ipynb](08_ablation_alignment.ipynb) takes the alignment of image and volume away, and looks what is left.
#
# <!-- teacher -->
# On the question to discuss: The spread over people and over trainings, the share of failures, and a baseline such as the mean face at the true pose. Also the rigid part, and what landmarks or models each method was given.
