# ---
# jupyter:
#   vrn_lite:
#     about: "the network from one module up: what it costs, what it sees, what a trained one holds"
# ---

# %% title [markdown]
# # The hourglass
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/vrn_lite/blob/main/notebooks/03_hourglass.ipynb)
# [![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/vrn_lite/main?urlpath=lab/tree/notebooks/03_hourglass.ipynb)
#
# **What you will learn.** How the network is built: a [residual module](GLOSSARY.md#residual-module), an [hourglass](GLOSSARY.md#hourglass) made of such modules by one recursion, and the whole volumetric network.
# What it costs, part by part. How much of the image one cell of its answer can see. Why it gives a volume although it is a network for images.
# What a trained one holds inside, and what happens if the recursion hangs on the wrong branch.
#
# **You need** notebook 01, and you should have met [convolutions](GLOSSARY.md#convolution) before. **Time:** about 40 minutes of reading; the cells take one to two minutes on a CPU, with or without a GPU.
#
# Cells that only measure and draw are folded: click on ··· to read one.
#
# We follow section 3.3 and figure 4 of the paper (Jackson et al., ICCV 2017, [arXiv:1703.07834](https://arxiv.org/abs/1703.07834)). The hourglass itself comes from Newell et al.
# ([arXiv:1603.06937](https://arxiv.org/abs/1603.06937)), the residual module from He et al. ([arXiv:1603.05027](https://arxiv.org/abs/1603.05027)).

# %% set-up
# Set-up: run me first. On Colab this installs the package (20 s); elsewhere it is there already.
import importlib.util
import inspect
import os
import sys
import time

if "google.colab" in sys.modules and importlib.util.find_spec("vrn_lite") is None:
    pass  # %pip install -q "vrn_lite @ git+https://github.com/OWNER/vrn_lite"
# before PyTorch: on shared machines, threads must not spin while they wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import skimage.data
import torch
import torch.nn.functional as F
from torch import nn

import vrn_lite as vrn
from vrn_lite import exercises, viz
from vrn_lite.networks.hourglass import Hourglass, Residual, Stem, modules
from vrn_lite.networks.vrn import GuidedVRN
from vrn_lite.photo.crop import crop
from vrn_lite.photo.finder import detect_face

if "BINDER_SERVICE_HOST" in os.environ:
    torch.set_num_threads(1)  # Binder lends one core, but reports many
profile = viz.profile()
print(f"vrn_lite, profile {profile}, PyTorch {torch.__version__}")

# %% shapes-text [markdown]
# ## 1. Shapes by hand
#
# The network takes a colour image of 192 x 192 pixels and gives a volume of 200 x 192 x 192 voxels. It works on a quarter of the image's size (48 x 48 cells) and, inside the hourglass, on half of that,
# four times over. A convolution or a [pooling](GLOSSARY.md#pooling) with kernel k, stride s and padding p turns n cells into
#
# $$n' = \left\lfloor \frac{n + 2p - k}{s} \right\rfloor + 1$$
#
# The 7 x 7 convolution has stride 2 and padding 3. A max-pool has kernel 2, stride 2 and no padding. Upsampling doubles. Residual modules keep height and width and may change the number of channels.
#
# *Predict:* put (channels, height, width) in place of the dots. The cell after them runs the network and tells you the true shape of each line that you have filled.

# %% shapes-mine
mine = {
    "7 x 7 convolution, stride 2, to 64 channels": ...,
    "residual module to 128 channels": ...,
    "max-pool": ...,
    "residual module to 128, another to 256 channels": ...,
    "hourglass: pooled once": ...,
    "hourglass: pooled four times": ...,
    "hourglass: back up twice": ...,
    "hourglass: back up four times": ...,
    "head, to 200 slices": ...,
    "bilinear to the image's size": ...,
}


# %% shapes
def shapes_of(network, image):
    """Name of each part of the network -> shape of what it gives, without the batch."""
    shapes = {}

    def watch(name):
        return lambda part, inputs, output: shapes.update({name: tuple(output.shape[1:])})

    hooks = [part.register_forward_hook(watch(name)) for name, part in network.named_modules()]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    return shapes


# the size of the paper: 256 channels, 2 hourglasses in a row; not trained
network = vrn.VRN("paper_full").eval()
image = torch.rand(1, 3, 192, 192)
shapes = shapes_of(network, image)
inside = "stacks.0.0."  # the first hourglass; each `below` in a name is one level further down
names = [
    "stem.layers.0",
    "stem.layers.3",
    "stem.layers.4",
    "stem.layers.6",
    inside + "before",
    inside + 3 * "below." + "before",
]
names += [inside + 2 * "below." + "merge", inside + "merge", "head", ""]
for (step, guess), name in zip(mine.items(), names, strict=True):
    right = str(guess).strip("()[]") == str(shapes[name]).strip("()")
    verdict = "not yet" if guess is ... else "right" if right else f"you have {guess}"
    print(f"{step:48} {'?' if guess is ... else shapes[name]!s:16} {verdict}")
assert shapes[inside + 3 * "below." + "below"] == (256, 3, 3)


# %% residual-text [markdown]
# At the bottom 3 x 3 cells are left. Each of them stands for a square of 64 x 64 pixels. This is why a side of the image must be a multiple of 64: every halving must come out even, or
# upsampling would not fit its partner.
#
# ## 2. The residual module
#
# Everything is made of one block. It squeezes c channels to half as many with a 1 x 1 convolution, looks at the neighbourhood with a 3 x 3 convolution, and returns to full width with a 1 x 1 convolution. Then it *adds* the result to what it got:
#
# $$y = x + W_3\,\rho(\beta_3(W_2\,\rho(\beta_2(W_1\,\rho(\beta_1(x))))))$$
#
# W are the convolutions, β [batch norms](GLOSSARY.md#batch-norm), ρ is [ReLU](GLOSSARY.md#relu). Norm and ReLU come *before* each convolution: this is called pre-activation. The squeeze in the middle is called a bottleneck; it makes the expensive 3 x 3 convolution four times cheaper. Here it is in full, beside the package's.


# %% residual
class Written(nn.Module):
    """The residual module, written out; equal widths only."""

    def __init__(self, width):
        super().__init__()
        half = width // 2
        self.norm_1, self.squeeze = nn.BatchNorm2d(width), nn.Conv2d(width, half, 1)
        self.norm_2, self.look = nn.BatchNorm2d(half), nn.Conv2d(half, half, 3, padding=1)
        self.norm_3, self.widen = nn.BatchNorm2d(half), nn.Conv2d(half, width, 1)

    def forward(self, x):
        y = self.squeeze(torch.relu(self.norm_1(x)))
        y = self.look(torch.relu(self.norm_2(y)))
        y = self.widen(torch.relu(self.norm_3(y)))
        return x + y


torch.manual_seed(0)
theirs, ours = Residual(64, 64), Written(64)
# the same weights, in the same order
ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
x = torch.randn(2, 64, 12, 12)
difference = float((ours(x) - theirs(x)).detach().abs().max())
print(f"same weights, same input: the largest difference is {difference:g}")
assert difference < 1e-6

idle = Residual(64, 64)
nn.init.zeros_(idle.branch[-1].weight)
nn.init.zeros_(idle.branch[-1].bias)
print("with zeros in its last convolution, a module returns its input:", torch.equal(idle(x), x))
assert torch.equal(idle(x), x)


# %% ex1-text [markdown]
# ### Exercise 1: the forward pass
#
# Write the same as a loop. `norms` are three batch norms and `convolutions` three convolutions, each a function of a tensor, in the order of the formula.


# %% ex1
def forward(x, norms, convolutions):
    ### BEGIN SOLUTION
    y = x
    for norm, convolution in zip(norms, convolutions):
        y = convolution(torch.relu(norm(y)))
    return x + y
    ### END SOLUTION


exercises.check("03.1", forward)

# %% ex1-solution [markdown]
# </details>
#
# ## 3. Why the sum, and why nothing comes after it
#
# The longest path through the paper's network is long: count the modules that follow each other. A learning signal has to come back along it. We send one through rows of random modules, of growing length, and measure how much
# larger or smaller it arrives: for the module above, for the same without the sum, and for one with a ReLU on the sum (as in the first ResNets). *Predict:* which curve stays closest to 1?

# %% identity-predict [markdown]
# Which curve stays closest to 1: as in the paper, with a ReLU on the sum, or without the sum?
#
# As in the paper: a free identity path carries the signal back. A ReLU on the sum stands in the way, and without the sum the factors of all modules multiply.
#
# <!-- teacher -->
# The order is asserted in the cell. The usual surprise is the direction: signals are often said to vanish; here they grow, because batch norm keeps the values in bounds and not the gradient.


# %% identity
KINDS = {
    "as in the paper": lambda part, x: part(x),
    "ReLU on the sum": lambda part, x: torch.relu(part(x)),
    "without the sum": lambda part, x: part.branch(x),
}


def gain(kind, count):
    """Size of the gradient at the input of `count` modules, relative to that at their output."""
    torch.manual_seed(1)
    x = y = torch.randn(8, 32, 8, 8, requires_grad=True)
    for part in modules(count, 32):
        y = kind(part, y)
    signal = torch.randn_like(y)
    (y * signal).sum().backward()
    return float((x.grad.norm() / signal.norm()).detach())


size = network.preset.network
# before, innermost, after; and one after each sum
longest = size.stacks * ((2 * size.levels + 1) * size.modules + size.levels)
counts = {"ci": (1, 4, 16)}.get(profile, (1, 2, 4, 8, 16, 31, longest))
gains = {name: [gain(kind, count) for count in counts] for name, kind in KINDS.items()}
print(f"longest path in the paper's network: {longest} modules, {3 * longest} convolutions")
for name, values in gains.items():
    print(f"{name:16} gradient after {counts[-1]} modules: x {values[-1]:.3g}")
assert gains["as in the paper"][-1] < gains["ReLU on the sum"][-1] < gains["without the sum"][-1]
figure = viz.curves_figure(
    {name: (counts, values) for name, values in gains.items()},
    "residual modules in a row",
    "gradient at the input / at the output",
    "How a learning signal comes back",
    log=True,
)
viz.show(
    figure,
    "Gradient gain by number of modules: it grows slowly with a free identity path, faster with a"
    " ReLU on the sum, and explodes without.",
)


# %% parameters-text [markdown]
# Without the sum, each module multiplies the signal by some factor, and the factors pile up. (Batch norm keeps the *values* in bounds, but not the *gradient*: it grows from module to module. Too large is as bad as too small: no step of any size suits both ends.)
# With the sum, the derivative of each module is one plus something small, and the signal has a free way through the whole network. A ReLU on the sum stands in this way, and the signal arrives several times larger still. So in pre-activation nothing but sums lies on the identity path.
#
# There is a second benefit, tested at the end of section 2. If the branch gives zero, the module does nothing at all. So a deeper network can always do what a shallower one does.
#
# ## 4. Counting parameters
#
# A convolution from i to o channels with a k x k kernel has i o k² weights and o biases. A batch norm of c channels has c scales and c shifts. (Its running mean and variance are measured, not learned; they do not count.)
# Where the widths of a module differ, a 1 x 1 convolution carries x to the new width before the sum. The inner width h is half of the output width.
#
# ### Exercise 2: parameters of a residual module
#
# Write their number as a function of the two widths.


# %% ex2
def parameters(width_in, width_out):
    ### BEGIN SOLUTION
    i, o, h = width_in, width_out, width_out // 2
    norms = 2 * i + 2 * h + 2 * h
    convolutions = (i * h + h) + (9 * h * h + h) + (h * o + o)
    shortcut = 0 if i == o else i * o + o
    return norms + convolutions + shortcut
    ### END SOLUTION


exercises.check("03.2", parameters)


# %% parameters
def count(part):
    """Number of learned parameters."""
    return sum(values.numel() for values in part.parameters())


for width_in, width_out in ((64, 128), (128, 128), (128, 256), (256, 256)):
    print(
        f"{width_in:3} to {width_out:3} channels: {count(Residual(width_in, width_out)):7,}"
        " parameters"
    )
f = 256
assert count(Residual(f, f)) == 3.25 * f**2 + 6 * f  # your formula for equal widths
bottleneck, full = count(Residual(f, f)), 2 * (9 * f * f + f) + 4 * f
print(
    f"two 3 x 3 convolutions without a bottleneck, {f} channels: {full:,} parameters,"
    f" {full / bottleneck:.1f} times as many"
)

# %% hourglass-text [markdown]
# ## 5. The hourglass: one recursion
#
# A face cannot be understood through a keyhole. To say how deep a cheek is, the network must know where the nose points. So the image is made smaller, until a few cells hold all of it, and then larger again. On the way back, each
# size meets its partner from the way down over a [*skip* branch](GLOSSARY.md#skip), which has kept the details.
#
# ```text
# x --+-------------- m modules (skip) -----------------------(+)-- 1 module -- y
#     |                                                        |
#     +-- pool /2 -- m modules -- level below -- m modules -- x2
# ```
#
# The "level below" is the same thing once more, on half the size. At the bottom it is m modules. x2 enlarges, by repeating each cell. This is all of the code (`Float[Tensor, "b f h w"]` notes the shape and does nothing):

# %% hourglass
print(inspect.getsource(Hourglass))


# %% ex3-text [markdown]
# ### Exercise 3: count the modules
#
# How many residual modules does an hourglass of so many levels have, with m modules in each place? (The module after a sum is a single one, whatever m is.)


# %% ex3
def how_many(levels, m):
    ### BEGIN SOLUTION
    in_places = 3 * levels * m  # skip, before, after
    innermost = m
    after_the_sum = levels
    return in_places + innermost + after_the_sum
    ### END SOLUTION


exercises.check("03.3", how_many)

# %% ex3-solution [markdown]
# At four levels this is 13 m + 4.
#
# </details>
#
# ## 6. The network, drawn
#
# The drawing below is made by the same recursion as the network: it walks through the modules and draws a box for each group. The shapes are the measured ones of section 1. Point at a box to read it.

# %% drawing tags=["hide-input"]
boxes = {
    kind: []
    for kind in (
        "stem",
        "skip",
        "before and after",
        "innermost",
        "after the sum",
        "projections",
        "head and bilinear",
    )
}
lines, gap = [], 0.5


def box(kind, name, x, y=0.0, centred=False):
    """Draw one part with its left side (or its centre) at x; returns its width and height."""
    channels, rows, columns = shapes[name]
    wide, high = channels / 200, rows**0.5
    boxes[kind].append(
        (
            x if centred else x + wide / 2,
            y,
            wide,
            high,
            f"{name or 'volume'}: {channels} channels, {rows} x {columns}",
        )
    )
    return wide, high


def hourglass(part, name, x):
    """Draw one level from x on; returns where it ends and how high its skips reach."""
    if not isinstance(part, Hourglass):
        wide, high = box("innermost", name, x)
        return x + wide + gap, high / 2
    start, x = x - gap / 2, x + box("before and after", name + ".before", x)[0] + gap
    x, top = hourglass(part.below, name + ".below", x)
    x += box("before and after", name + ".after", x)[0] + gap
    high = shapes[name + ".skip"][1] ** 0.5
    top += 0.4 + high / 2
    box("skip", name + ".skip", (start + x - gap / 2) / 2, top, centred=True)
    lines.append([(start, 0), (start, top), (x - gap / 2, top), (x - gap / 2, 0)])
    return x + box("after the sum", name + ".merge", x)[0] + gap, top + high / 2


x = 0.0
for layer in (0, 3, 4, 6):
    x += box("stem", f"stem.layers.{layer}", x)[0] + gap
for number, stack in enumerate(network.stacks):
    x, _ = hourglass(stack[0], f"stacks.{number}.0", x)
    x += box("projections", f"stacks.{number}.1", x)[0] + 0.1
    x += box("projections", f"stacks.{number}.2", x)[0] + gap
x += box("head and bilinear", "head", x)[0] + gap
x += box("head and bilinear", "", x)[0]

# %% drawing-plot
figure = viz.boxes_figure(
    boxes,
    [[(-gap, 0.0), (x, 0.0)], *lines],
    f"VRN: {size.stacks} hourglasses of {size.levels} levels, m = {size.modules}",
    x_title="from the image to the volume; width of a box: channels",
    y_title="height of a box: square root of its rows",
)
viz.show(
    figure,
    "Boxes from left to right: stem, two hourglasses that shrink to 3 x 3 cells and grow again"
    " under nested skips, head.",
)


# %% cost-text [markdown]
# ## 7. What it costs
#
# Two prices: [parameters](GLOSSARY.md#parameter) (memory, and what has to be learned) and [multiply-adds](GLOSSARY.md#multiply-add) (time). A convolution multiplies each of its weights once for each cell of its output, so hooks on all convolutions are enough to count both.
# *Predict:* where are most of the parameters, and where is most of the work?


# %% cost-predict [markdown]
# Where are most of the parameters, and where is most of the work?
#
# The parameters lie in the hourglasses, about a fifth on each of the four small sizes. The work lies where there are many cells: on 48 x 48 and 24 x 24, and in the stem. One level down, a module costs the same parameters and a quarter of the work.
#
# <!-- teacher -->
# The table of the next cell: 24 x 24, 12 x 12 and 6 x 6 have 22.4 % of the parameters each and 26.3 %, 6.6 % and 1.6 % of the work; 48 x 48 has 8.9 % and 42.1 %; the stem 1.8 % and 13.6 %.


# %% cost tags=["hide-input"]
def costs(network, image):
    """(name, rows of cells, parameters, multiply-adds) of each layer with weights, as it runs."""
    table = []

    def watch(name):
        def hook(layer, inputs, output):
            work = (
                layer.weight.numel() * output.shape[-2] * output.shape[-1]
                if isinstance(layer, nn.Conv2d)
                else 0
            )
            table.append((name, output.shape[-2], count(layer), work))

        return hook

    layers = [
        (name, part)
        for name, part in network.named_modules()
        if isinstance(part, (nn.Conv2d, nn.BatchNorm2d))
    ]
    hooks = [layer.register_forward_hook(watch(name)) for name, layer in layers]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    return table


def by_part(table):
    """Part -> (parameters, multiply-adds)."""
    parts = (
        {"stem": (0, 0)}
        | {f"hourglass {n} x {n}": (0, 0) for n in (48, 24, 12, 6, 3)}
        | {"projections": (0, 0), "head": (0, 0)}
    )
    for name, rows, own, work in table:
        words = name.split(".")
        part = (
            words[0]
            if words[0] != "stacks"
            else f"hourglass {rows} x {rows}"
            if words[2] == "0"
            else "projections"
        )
        parts[part] = (parts[part][0] + own, parts[part][1] + work)
    return parts


table = costs(network, image)
parts = by_part(table)
total = [sum(values) for values in zip(*parts.values(), strict=True)]
for name, (own, work) in parts.items():
    print(
        f"{name:18} {own:11,} parameters {own / total[0]:6.1%}   {work / 1e9:6.3f} billion"
        f" multiply-adds {work / total[1]:6.1%}"
    )
print(
    f"{'total':18} {total[0]:11,} parameters          {total[1] / 1e9:6.3f} billion multiply-adds"
)

# %% cost-plot
figure = viz.bars_figure(
    {
        "parameters": {name: 100 * own / total[0] for name, (own, _) in parts.items()},
        "multiply-adds": {name: 100 * work / total[1] for name, (_, work) in parts.items()},
    },
    "part of the network",
    "share of the whole (%)",
    "Parameters and work",
)
viz.show(
    figure,
    "Two bars for each part: parameters spread over all sizes of the hourglass, work lies in its"
    " two largest sizes and the stem.",
)


# %% cost-after [markdown]
# A module costs the same number of parameters on every size, but a quarter of the work one level further down: compare 24 x 24, 12 x 12 and 6 x 6, which have 20 modules each. (At 48 x 48 there are only eight: the skips and the modules after the sums.) So the deep levels, which see most, are nearly free.
#
# The total must agree with a closed form: the [stem](GLOSSARY.md#stem), two hourglasses of 13 m + 4 modules with two projections each (1 x 1 convolution, batch norm, ReLU), and the [head](GLOSSARY.md#head).


# %% cost-check
def closed_form(m, stacks, f, channels, slices=200, first=64):
    """Parameters of VRN with `channels` going in; modules are counted once each, from the class."""
    stem = (
        49 * channels * first
        + 3 * first
        + count(Residual(first, 2 * first))
        + count(Residual(2 * first, 2 * first))
        + count(Residual(2 * first, f))
    )
    projection = f * f + f + 2 * f
    hourglass = (13 * m + 4) * count(Residual(f, f))
    return stem + stacks * (hourglass + 2 * projection) + projection + f * slices + slices


unguided = closed_form(m=3, stacks=2, f=256, channels=3)
print(
    f"m = 3, 3 channels: {unguided:,} parameters by the formula, {count(network):,} in the network,"
    f" {total[0]:,} seen by the hooks"
)
assert unguided == count(network) == total[0] == 19_184_968
# VRN-Guided also gets 68 landmark maps; see notebook 06
guided = closed_form(m=4, stacks=2, f=256, channels=3 + 68)
print(
    f"m = 4, 71 channels: {guided:,} parameters by the formula, {count(GuidedVRN('paper_full')):,}"
    " in the network"
)
assert guided == 24_975_944

# %% field-text [markdown]
# ## 8. What one cell can see
#
# One cell of the output depends on a part of the image: its [*receptive field*](GLOSSARY.md#receptive-field). It can be measured. Take the derivative of one output cell with respect to every pixel: where it is not zero, the cell sees.
#
# We compare three networks with random weights: the stem alone, the stem with one level of hourglass, and with four levels (one module in each place). The derivative is averaged over eight images of noise and drawn over a photograph, on a logarithmic scale.
# *Predict:* how many pixels wide is each of them?

# %% field-predict [markdown]
# How many of the 192 pixels can the middle cell see: stem alone, stem and one level, stem and four levels?
#
# 29, 89, and all 192. After the figure the first two are counted by hand.
#
# <!-- teacher -->
# These numbers are asserted. The second number of each line, the square that holds 95 % of the derivative, is much smaller, and it is the better answer to "what does it look at".


# %% field
WIDTH = 16  # channels; where a cell can look does not depend on it
noise = torch.rand(8, 3, 192, 192, generator=torch.Generator().manual_seed(3))


def field(*parts, cell=24):
    """|d output cell / d pixel| [192, 192], mean over images and colours."""
    images = noise.clone().requires_grad_()
    nn.Sequential(*parts).eval()(images)[:, :, cell, cell].sum().backward()
    return images.grad.abs().sum(1).mean(0)


def extent(seen):
    """Width of what is seen (px), and side of the centred square with 95 % of the derivative."""
    columns = (seen > 0).any(0).nonzero()
    middle = seen.shape[-1] // 2
    held = [
        float(seen[middle - k : middle + k, middle - k : middle + k].sum() / seen.sum())
        for k in range(1, middle + 1)
    ]
    return int(columns.max() - columns.min() + 1), 2 * (1 + sum(share < 0.95 for share in held))


torch.manual_seed(0)
stem = Stem(3, 4, WIDTH // 2, WIDTH)
seen = {
    "stem": field(stem),
    "one level": field(stem, Hourglass(1, 1, WIDTH)),
    "four levels": field(stem, Hourglass(4, 1, WIDTH)),
}
for name, values in seen.items():
    print(
        f"{name:12} sees {extent(values)[0]:3} px of 192; 95 % of the derivative lie in a square of"
        f" {extent(values)[1]:3} px"
    )
assert [extent(values)[0] for values in seen.values()] == [29, 89, 192]

# %% field-plot
photo = skimage.data.astronaut()
face_box = detect_face(photo)
window = crop(photo, face_box, network.preset.grid)[0]  # [3, 192, 192]


def overlay(image, seen, decades=5):
    """The image, bright where it is seen: 1 at the largest derivative, 0 at 10^-decades of it."""
    bright = (1 + (seen / seen.max()).clamp(min=10.0**-decades).log10() / decades).clamp(0, 1)
    return image * 0.15 + 0.85 * bright * (0.4 + 0.6 * image)


figure = viz.images_figure(
    {name: overlay(window, values) for name, values in seen.items()},
    "What the cell in the middle can see",
)
viz.show(
    figure,
    "The photograph, bright where the middle cell sees it: a small square, a square of half the"
    " width, everything.",
)


# %% field-after [markdown]
# The stem sees a keyhole, four levels see the whole image. By hand: a layer of kernel k makes the field larger by k - 1 cells of *its own input*, and after every stride one cell is that many pixels wider. For the stem this gives 29 px.
# One level adds 4 px for pooling, 3 x 16 px for the three modules on the pooled branch, where a cell is 8 px wide, and 8 px for the module after the sum: 89 px.
#
# Most of the derivative comes from a smaller square in the middle, though: that is the second number of each line. Nothing has taught these random networks where to look. Section 10 shows where a trained one looks.
#
# ### Exercise 4: the receptive field
#
# `layers` is a tuple of pairs (kernel, stride), from the image on; a residual module counts as its 3 x 3 convolution, (3, 1). The stem is `((7, 2), (3, 1), (2, 2), (3, 1), (3, 1))`. Give the width of the field in pixels.


# %% ex4
def receptive_field(layers):
    ### BEGIN SOLUTION
    size, jump = 1, 1  # pixels that a cell sees; pixels from one cell to the next
    for kernel, stride in layers:
        size += (kernel - 1) * jump
        jump *= stride
    return size
    ### END SOLUTION


exercises.check("03.4", receptive_field)

# %% ex4-solution [markdown]
# </details>
#
# ## 9. The trick: depth slices are channels
#
# The answer is a volume, but no layer of this network is three-dimensional. Its last layer has 200 output channels, and channel d *is* slice d. That is possible because image and volume are aligned (notebook 01): what belongs to a pixel lies behind it, in the same row and column.
# So the network answers one question at each pixel, with 200 numbers: which depths are inside?
#
# What would the direct way cost, layers in three dimensions on the same grid?

# %% trick
grid = network.preset.grid
voxels = grid.depth * grid.height * grid.width
width = 32  # few channels, for a network
memory = 4 * width * voxels / 2**30  # float32
work = 27 * width**2 * voxels
print(f"the grid: {voxels:,} voxels")
print(f"one tensor of {width} channels on it: {memory:.2f} GiB")
print(
    f"one 3 x 3 x 3 convolution from {width} to {width} channels: {work / 1e9:.0f} billion"
    " multiply-adds"
)
print(
    f"the whole 2D network, all {longest} modules deep: {total[1] / 1e9:.1f} billion,"
    f" {work / total[1]:.0f} times less than that one layer"
)
assert work > 10 * total[1]

# %% slices-text [markdown]
# Nobody tells the network that slice 80 is next to slice 81: for a 2D network, channels have no order. It has to find out. The last layer holds a list of weights for each slice, with which it mixes the features. We take the shipped network
# and compare these lists: the cosine of the angle between them is 1 if two slices are answered by the same mixture.

# %% slices
trained = vrn.load("vrn")
small = trained.preset.grid
mixtures = F.normalize(trained.head[-1].weight[:, :, 0, 0].detach(), dim=1)  # [slices, features]
alike = mixtures @ mixtures.T
for apart in (1, 4, 16, 64):
    print(f"{apart:2} slices apart: cosine {alike.diagonal(apart).mean():.2f}")
assert alike.diagonal(1).mean() > alike.diagonal(16).mean() > alike.diagonal(64).mean()
figure = viz.images_figure(
    {"": alike.clamp(0, 1)}, "How alike two slices are answered: dark 0, bright 1"
)
figure.update_layout(xaxis_title_text="slice d", yaxis_title_text="slice d", height=460)
viz.show(
    figure,
    "A square matrix, bright along its diagonal and darker away from it: neighbouring slices have"
    " similar weights.",
)

# %% head-text [markdown]
# The network has learned the order from the data. (The dark corners turn bright again: the first and the last slices are alike, because both lie outside nearly every face.) (It is not forced to keep it: where neighbours disagree a little, surfaces get terraces, and `vrn.reconstruct` smooths them away.)
#
# The head answers on the hourglass's grid, a quarter of the image. The last step enlarges each slice, bilinearly. It has no parameters, but a half cell can get lost here, too: cell c has its centre at 4 (c + 1/2) pixels. A ramp shows that it does not.

# %% head
picture = crop(photo, face_box, small)[0]
with torch.inference_mode():
    coarse = trained.predict(picture[None]).logits[0]
    logits = trained(picture[None])[0]
chances = logits.sigmoid()
step = picture.shape[-1] // coarse.shape[-1]
print(f"head: {tuple(coarse.shape)}, enlarged {step} times: {tuple(logits.shape)}")

centres = step * (torch.arange(coarse.shape[-1]) + 0.5)  # where each cell stands, in pixels
ramp = F.interpolate(
    centres.expand(1, 1, len(centres), -1), scale_factor=step, mode="bilinear", align_corners=False
)[0, 0, 0]
pixels = torch.arange(len(ramp)) + 0.5
print(
    "away from the edges, the enlarged ramp is off by",
    float((ramp - pixels)[step:-step].abs().max()),
    "px",
)
assert (ramp - pixels)[step:-step].abs().max() < 1e-3

d = int((chances > 0.5).flatten(1).sum(1).argmax())  # the fullest slice
figure = viz.images_figure(
    {
        "crop": picture,
        f"slice {d} from the head": coarse[d].sigmoid(),
        f"slice {d} enlarged": chances[d],
    },
    "The last step",
)
viz.show(
    figure,
    "The crop of the astronaut, a coarse slice of the network's answer with visible cells, and the"
    " same slice at the size of the image.",
)

# %% inside-text [markdown]
# ## 10. Inside a trained network
#
# The shipped network is smaller than the paper's ([preset](GLOSSARY.md#preset) `colab`: images of 128 x 128 pixels, 32 x 32 cells, one hourglass of 128 channels, m = 2), but its shape is the same. We show it the photograph and keep what passes through: each row below is one size, each column one channel. All
# channels are there; the slider turns the pages. *Look for:* which rows still show a face? Is there a channel that finds the eyes, the outline, the background?

# %% maps tags=["hide-input"]
level = trained.stacks[0][0]
levels = [level]
while isinstance(levels[-1].below, Hourglass):
    levels.append(levels[-1].below)
watched = (
    {"stem": trained.stem.layers[-1]}
    | {f"pooled {n + 1} x": part.before for n, part in enumerate(levels)}
    | {"after the sum": level.merge}
)
kept = {}
hooks = [
    part.register_forward_hook(lambda _, inputs, output, name=name: kept.update({name: output[0]}))
    for name, part in watched.items()
]
with torch.inference_mode():
    trained(picture[None])
for hook in hooks:
    hook.remove()


def row(maps):
    """Eight feature maps [8, h, w] side by side, each from its least (0) to its largest (1)."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    shades = (23 * (maps - low) / (high - low + 1e-9)).round() / 23
    tiles = F.interpolate(shades[None], size=(64, 64), mode="nearest")[0]
    return torch.cat(list(F.pad(tiles, (2, 2, 2, 2))), 1)


pages = range(0, kept["stem"].shape[0], {"ci": 32, "cpu": 8, "gpu": 8}[profile])
sheets = {
    f"{first} to {first + 7}": torch.cat([row(maps[first : first + 8]) for maps in kept.values()])
    for first in pages
}
figure = viz.pages_figure(
    sheets, "Feature maps of the shipped network", slider="channels", bar="least to most"
)
labels = [f"{name}<br>{maps.shape[-2]} x {maps.shape[-1]}" for name, maps in kept.items()]
figure.update_layout(
    yaxis={
        "tickvals": [68 * n + 34 for n in range(len(labels))],
        "ticktext": labels,
        "title": None,
        "range": [68 * len(labels), 0],
    }
)
figure.update_layout(
    xaxis={"title": "eight channels side by side", "showticklabels": False}, height=640
)
viz.show(
    figure,
    f"A sheet of feature maps: one row for each of {len(labels)} places in the network, eight"
    " channels a page.",
)

# %% cut-text [markdown]
# Looking is not proof. To learn what a size contributes, take it away: put zeros in place of what comes up from below a level (then all smaller sizes are lost, too), or in place of a skip branch, and compare the answer with the truth, on rendered faces. [IoU](GLOSSARY.md#iou) is the share of voxels that two volumes have in common: 1 is perfect.
# A network that was trained with a part does not expect it to be missing; so this tells what the answer *rests* on, not what a network trained without it could do. In the pictures, an empty field is an answer, too: no voxel is above one half.

# %% cut
pairs = vrn.make_pairs(
    vrn.faces.procedural(),
    trained.preset,
    {"ci": 2, "cpu": 8, "gpu": 32}[profile],
    torch.Generator().manual_seed(11),
)


def answer(images, without=None):
    """Inside or outside, with zeros in place of what one part gives."""
    cut = [] if without is None else [without]
    hooks = [part.register_forward_hook(lambda _, inputs, output: 0 * output) for part in cut]
    with torch.inference_mode():
        inside = trained(images) > 0  # a logit above 0 is a probability above 1/2
    for hook in hooks:
        hook.remove()
    return inside


# 32, 16, ... of the hourglass's cells
sizes = [maps.shape[-1] for maps in list(kept.values())[:-1]]
whole = float(vrn.iou(answer(pairs.images), pairs.volumes).mean())
print(f"complete network: IoU {whole:.3f}")
scores = {}
for here, below, part in zip(sizes, sizes[1:], levels, strict=False):
    for name, branch in (
        (f"all from {below} x {below} down", part.after),
        (f"skip at {here} x {here}", part.skip),
    ):
        scores[name] = float(vrn.iou(answer(pairs.images, branch), pairs.volumes).mean())
        print(f"without {name:24} IoU {scores[name]:.3f} ({scores[name] - whole:+.3f})")
print(
    "the answer rests most on:",
    min(scores, key=scores.get),
    "- least on:",
    max(scores, key=scores.get),
)
assert scores[f"all from {sizes[1]} x {sizes[1]} down"] < whole - 0.1

# %% cut-plot
shown = {"complete": None} | {
    f"without {below} x {below}": part.after for below, part in zip(sizes[1:], levels, strict=True)
}
reliefs = {
    name: viz.shade_volume(answer(picture[None], branch), small.depth_scale)
    for name, branch in shown.items()
}
viz.show(
    viz.image_grid(reliefs, "The photograph's face without one size and all smaller ones"),
    "Shaded surfaces of the answer for the astronaut: complete, and with the branch from one size"
    " downwards cut off.",
)

# %% rays-text [markdown]
# Compare the two kinds of lines: how much do the skips carry of this answer, and how much comes up from below? A smaller cut can be worse than a larger one, although less is taken away:
# the modules after the cut get a mixture that they have never met.
#
# Which slice answers where? Follow three rays into the volume: through the point that is nearest to the viewer, through a point of the face farther to the side, and past the head. A ray is one pixel's list of slices, so it is simply `chances[:, row, column]`.

# %% rays
inside = chances > 0.5
# the slice where the solid begins, [h, w]
first = torch.where(inside.any(0), inside.int().argmax(0), small.depth)
r, c = divmod(int(first.argmin()), small.width)
filled = inside.any(0)[r].nonzero().flatten()  # columns of that row that meet the solid
places = {"nearest point": c, "to the side": int(filled[len(filled) // 8]), "past the head": 2}
z = [(d + 0.5) / small.depth_scale for d in range(small.depth)]
curves = {}
for name, column in places.items():
    curves[f"{name} (column {column})"] = (z[::2], chances[::2, r, column].tolist())
    begins = int(first[r, column])
    print(
        f"{name:14} row {r}, column {column:3}:",
        (
            f"inside from slice {begins} of {small.depth} on"
            if begins < small.depth
            else "never inside"
        ),
    )
figure = viz.curves_figure(
    curves, "depth z (px)", "probability of being inside", f"Three rays through row {r}"
)
viz.show(
    figure,
    "Probability along three rays: two rise from 0 to 1 at their surface and fall at the back wall,"
    " the one past the head stays at 0.",
)

# %% depths
nearest, farthest = first[inside.any(0)].float().aminmax()
depth = torch.where(
    inside.any(0), 1 - 0.8 * (first - nearest) / (farthest - nearest), torch.zeros(())
)
x = picture.clone().requires_grad_()
trained(x[None])[0, int(first[r, c]), r, c].backward()
looks = x.grad.abs().sum(0)
near = (looks[max(0, r - 15) : r + 14, max(0, c - 15) : c + 14].sum() / looks.sum()).item()
print(
    f"the voxel at row {r}, column {c}: {near:.0%} of its derivative lie within 29 x 29 px around"
    " it, the rest farther away"
)
lit = overlay(picture, F.avg_pool2d(looks[None], 7, 1, 3)[0], 2)
figure = viz.images_figure(
    {
        "crop": picture,
        "where the solid begins<br>(bright: near)": depth,
        "what the nearest<br>voxel looks at": lit,
    },
    "Which slice answers, and from what",
)
assert near < 0.5
viz.show(
    figure,
    "The crop, a depth map that is brightest where the face is nearest, and the crop lit where the"
    " answer of the nearest voxel depends on it.",
)


# %% released-text [markdown]
# A ray begins to be inside at the face and ends at the wall behind it. The network finds the place along the ray by turning on the right channels.
#
# The last picture (smoothed over 7 x 7 px) answers the question of section 8. The voxel nearest to the viewer, the nose most likely, does not depend on its own pixel only: most of its derivative lies outside the stem's keyhole of 29 px. The trained network uses the width that the hourglass gives it.
#
# ## 11. The recursion of the released file
#
# The authors published their trained network as a file in which all modules are written out, one after the other, in nested lists. Read closely, it is not the drawing of section 6. The next level hangs on the *skip* branch, which is not pooled:
#
# ```text
# x --+------- m modules (skip) -- level below ---------------(+)-- 1 module -- y
#     |                                                        |
#     +-- pool /2 -- m modules (innermost: 2 m) -- m modules - x2
# ```
#
# The number of modules is the same, and all weights have the same shapes. Only the wiring differs. In our code it is a matter of a few lines:


# %% released
class Unpooled(Hourglass):
    """The wiring of the released file: the level below sees the size of this level."""

    def forward(self, x):
        low, high = self.before(F.max_pool2d(x, 2)), self.skip(x)
        if isinstance(self.below, Hourglass):
            high = self.below(high)  # the hourglass: low = self.below(low)
        else:
            low = self.below(low)
        return self.merge(high + F.interpolate(self.after(low), scale_factor=2, mode="nearest"))


def rewired(network):
    """The network with every hourglass wired as in the released file; the weights stay."""
    for part in network.modules():
        if type(part) is Hourglass:
            part.__class__ = Unpooled
    return network


# %% released-cost
# `network` is rewired from here on
tables = {
    "pooled (hourglass)": table,
    "un-pooled (released)": costs(rewired(network), image),
}
gmac = []
for name, rows in tables.items():
    gmac.append(sum(row[3] for row in rows) / 1e9)
    print(
        f"{name:21} {sum(row[2] for row in rows):,} parameters, {gmac[-1]:5.2f} billion"
        " multiply-adds"
    )
    print(
        "    hourglasses by size:",
        {
            part[10:]: round(work / 1e9, 2)
            for part, (_, work) in by_part(rows).items()
            if part.startswith("hourglass")
        },
    )
print(f"{gmac[1] / gmac[0]:.1f} times the work")
assert [round(value, 1) for value in gmac] == [9.3, 24.5]

# %% released-seen
torch.manual_seed(0)
seen["four levels, un-pooled"] = field(stem, rewired(Hourglass(4, 1, WIDTH)))
seen["the same with m = 3"] = field(stem, rewired(Hourglass(4, 3, WIDTH)))
for name in ("four levels", "four levels, un-pooled", "the same with m = 3"):
    print(
        f"{name:24} sees {extent(seen[name])[0]:3} px of 192; 95 % of the derivative lie in a"
        f" square of {extent(seen[name])[1]:3} px"
    )
assert extent(seen["four levels, un-pooled"])[1] < extent(seen["four levels"])[1]

timed = vrn.VRN({"ci": "lite", "cpu": "paper_full", "gpu": "paper_full"}[profile]).eval()
inputs = torch.rand(1, 3, timed.preset.grid.height, timed.preset.grid.width)
for wire in (lambda same: same, rewired):
    wired = wire(timed)
    with torch.inference_mode():
        wired(inputs)  # once before the clock starts
        began = time.perf_counter()
        wired(inputs)
    print(
        f"{type(wired.stacks[0][0]).__name__:9} at preset {timed.preset.name}:"
        f" {time.perf_counter() - began:.2f} s for one image"
    )
figure = viz.bars_figure(
    {
        name: {part: work / 1e9 for part, (_, work) in by_part(rows).items()}
        for name, rows in tables.items()
    },
    "part of the network",
    "billion multiply-adds",
    "The same modules, wired in two ways",
)
viz.show(
    figure,
    f"Work by part: the un-pooled wiring works on 48 x 48 and 24 x 24 cells only, {gmac[1]:.1f}"
    f" against {gmac[0]:.1f} billion.",
)

# %% summary [markdown]
# In the released wiring only 48 x 48 and 24 x 24 cells ever occur. It does 2.6 times the work, and its cells see less of the image: with random weights, 95 % of the derivative stay in the small squares printed above, with one module in each place and also with the file's m = 3.
# It was trained, and it works. But the deep levels, which are nearly free in an hourglass and see everything, are not there.
#
# This package builds the hourglass. A few lines of recursion show at a glance what 1,600 lines of written-out layers hide.
#
# ## Summary
#
# * A residual module adds a small correction to what it gets. Nothing but sums lies on the identity path, so that a learning signal survives some sixty modules.
# * An hourglass is one recursion: pool, think, come back, add what the skip has kept. 13 m + 4 modules at four levels.
# * Parameters spread over all sizes, work does not: the small sizes are nearly free, and they are the ones that see the whole face.
# * Depth slices are channels. That makes a volume as cheap as an image, and it needs image and volume to be aligned.
# * The same modules, wired differently, cost 2.6 times as much and see less.
#
# **Discuss:** A network for images answers with a volume, because depth slices are channels. Which other three-dimensional tasks could be put this way, and which could not?
#
# **Next:** [04_train_vrn.ipynb](04_train_vrn.ipynb) trains such a network on faces made on the fly, while you watch.
#
# <!-- teacher -->
# On the question to discuss: It works where each answer belongs to one ray of the image: depth, layers, occupancy in front of a camera. It does not where things must turn or move between rays, or where the output has another frame than the image: notebook 08.
