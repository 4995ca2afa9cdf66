"""Exercises of notebook 03: the network."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vrn_lite.exercises.cases import Pair, seeded
from vrn_lite.exercises.grader import Exercise


def _residual(
    step: Callable[[Any, Any, Tensor], Tensor] = lambda norm, convolution, y: convolution(torch.relu(norm(y))),
    join: Callable[[Tensor, Tensor, Any], Tensor] = lambda x, y, norms: x + y,
) -> Callable[..., Tensor]:
    """Forward of a residual module, right by default."""

    def forward(x: Tensor, norms: Any, convolutions: Any) -> Tensor:
        y = x
        for norm, convolution in zip(norms, convolutions, strict=True):
            y = step(norm, convolution, y)
        return join(x, y, norms)

    return forward


def _parameters(
    bias: int = 1, norm: int = 2, kernel: int = 9, shortcut: Pair = (0, 1), of_input: bool = False
) -> Callable[[int, int], int]:
    """Parameters of a residual module, right by default.

    `shortcut` tells whether a convolution stands on the identity path where widths are equal, and where not.
    """

    def count(i: int, o: int) -> int:
        h = (i if of_input else o) // 2
        kept = shortcut[i != o] * (i * o + bias * o)
        return norm * (i + 2 * h) + i * h + kernel * h * h + h * o + bias * (2 * h + o) + kept

    return count


def _modules(
    each: int = 3, inner: int = 1, merge: Callable[[int], int] = lambda levels: levels
) -> Callable[[int, int], int]:
    """Residual modules of an hourglass, right by default."""
    return lambda levels, m: (each * levels + inner) * m + merge(levels)


def _field(
    grow: Callable[[int, int, int], int] = lambda kernel, stride, jump: (kernel - 1) * jump, start: int = 1
) -> Callable[[tuple[tuple[int, int], ...]], int]:
    """Receptive field of a row of layers, right by default."""

    def size(layers: tuple[tuple[int, int], ...]) -> int:
        total, jump = start, 1
        for kernel, stride in layers:
            total += grow(kernel, stride, jump)
            jump *= stride
        return total

    return size


def _backwards(layers: tuple[tuple[int, int], ...]) -> int:
    """The formula that goes from the last layer to the first, used the wrong way round."""
    size = 1
    for kernel, stride in layers:
        size = (size - 1) * stride + kernel
    return size


def _summed_each_time(x: Tensor, norms: Any, convolutions: Any) -> Tensor:
    for norm, convolution in zip(norms, convolutions, strict=True):
        x = x + convolution(torch.relu(norm(x)))
    return x


_MEANS = [seeded(4, scale=scale) for scale in (0.3, -0.2, 0.1)]
_NORMS = tuple(partial(F.batch_norm, running_mean=mean, running_var=torch.ones(4)) for mean in _MEANS)
_CONVOLUTIONS = (
    partial(F.conv2d, weight=seeded(4, 4, 1, 1, scale=0.5)),
    partial(F.conv2d, weight=seeded(4, 4, 3, 3, scale=0.3), padding=1),
    partial(F.conv2d, weight=seeded(4, 4, 1, 1, scale=-0.4)),
)
_WIDTHS = ((64, 128), (128, 128), (256, 256), (128, 256), (8, 4))
_STEM = ((7, 2), (3, 1), (2, 2), (3, 1), (3, 1))

# A table, set by hand: each hint and the wrong answer that deserves it.
# fmt: off
EXERCISES: dict[str, Exercise] = {
    "03.1": Exercise(_residual(), ((seeded(2, 4, 5, 5), _NORMS, _CONVOLUTIONS),), {
        "the identity path is missing: add the input.": _residual(join=lambda x, y, n: y),
        "there is a ReLU on the sum: nothing comes after it, so that the identity path stays free.":
            _residual(join=lambda x, y, n: torch.relu(x + y)),
        "the normalised input is added: the identity path carries x itself.":
            _residual(join=lambda x, y, n: n[0](x) + y),
        "the activated input is added: the identity path carries x itself.":
            _residual(join=lambda x, y, n: torch.relu(n[0](x)) + y),
        "the convolution comes first (post-activation): here it comes after its norm and ReLU.":
            _residual(lambda n, c, y: torch.relu(n(c(y)))),
        "ReLU comes before the norm: first normalise, then ReLU.": _residual(lambda n, c, y: c(n(torch.relu(y)))),
        "the ReLUs are missing: without them, the branch is linear.": _residual(lambda n, c, y: c(n(y))),
        "the norms are missing.": _residual(lambda n, c, y: c(torch.relu(y))),
        "each convolution has its own norm: yours takes the first one each time.":
            lambda x, n, c: _residual()(x, (n[0],) * 3, c),
        "norms and ReLUs are missing: each convolution has its own before it.": _residual(lambda n, c, y: c(y)),
        "the input is added after each convolution: there is one sum, at the end.": _summed_each_time,
        "the input was overwritten on the way: keep x, and work on a second variable.":
            _residual(join=lambda x, y, n: 2 * y),
    }),
    "03.2": Exercise(_parameters(), _WIDTHS, {
        "only the convolutions' weights are counted: their biases and the batch norms are missing.":
            _parameters(bias=0, norm=0),
        "the biases are missing: each convolution has one for each output channel.": _parameters(bias=0),
        "the batch norms are missing: each has a scale and a shift per channel.": _parameters(norm=0),
        "a batch norm has two parameters per channel: a scale and a shift.": _parameters(norm=1),
        "running mean and variance are measured, not learned: they are no parameters.": _parameters(norm=4),
        "the 3 x 3 convolution has nine weights for each pair of channels.": _parameters(kernel=1),
        "the 3 x 3 convolution has nine weights for each pair of channels, not three.": _parameters(kernel=3),
        "the 1 x 1 convolution on the identity path is missing, where the widths differ.": _parameters(shortcut=(0, 0)),
        "where the widths are equal, the identity path has no convolution.": _parameters(shortcut=(1, 1)),
        "the inner width is half of the *output* width.": _parameters(of_input=True),
        "the first batch norm stands before everything: it has the input's width.":
            lambda i, o: _parameters()(i, o) + 2 * (o - i),
        "the bias of the convolution on the identity path is missing.": lambda i, o: _parameters()(i, o) - (i != o) * o,
    }),
    "03.3": Exercise(_modules(), ((4, 1), (4, 3), (3, 2), (1, 5)), {
        "the innermost m modules are missing.": _modules(inner=0),
        "at the bottom there are m modules, not one.": lambda levels, m: (3 * m + 1) * levels + 1,
        "the module after each sum is missing: one a level.": _modules(merge=lambda levels: 0),
        "every level has its own module after its sum.": _modules(merge=lambda levels: 1),
        "each level has m modules in three places: on the skip, before and after the level below.": _modules(each=2),
        "this is right for four levels only.": lambda levels, m: _modules()(4, m),
        "the module after the sum is one, whatever m is.": lambda levels, m: _modules()(levels, 1) * m,
    }),
    "03.4": Exercise(_field(), ((((3, 1),),), (((3, 1), (3, 1)),), (((2, 2), (3, 1)),), (_STEM,)), {
        "the jump is missing: after a stride, one cell further is several pixels further.":
            _field(lambda k, s, j: k - 1),
        "a layer's own stride counts for the layers after it: update the jump last.":
            _field(lambda k, s, j: (k - 1) * j * s),
        "the jump is the product of all strides so far, not this layer's.": _field(lambda k, s, j: (k - 1) * s),
        "a kernel of k cells adds k - 1: it holds the cell itself already.": _field(lambda k, s, j: k * j),
        "start with one pixel: without any layer, a cell sees itself.": _field(start=0),
        "kernels do not simply add up: neighbours overlap, and after a stride cells are wider.":
            lambda layers: sum(kernel for kernel, _ in layers),
        "this formula goes from the last layer to the first: reverse the list.": _backwards,
    }),
}
# fmt: on
