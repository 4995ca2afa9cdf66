"""Answers to the notebooks' exercises as learners might write them: ``python tests/answers.py`` prints the table of mutations.

They are written independently of the wrong answers that the exercises themselves know.
"""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vrn_lite import exercises as book

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

AWAY = "torch.hypot(torch.arange(face.shape[0])[:, None] - row + 0.0, torch.arange(face.shape[1]) - column + 0.0)"

WRONG = {  # as a learner might write them, and a word of the hint that each deserves
    "01.1": {
        "(depths[:, None] < torch.arange(slices) / depth_scale).sum(0) % 2 == 1": "half voxel",
        "(depths[:, None] < torch.arange(slices) + 0.5).sum(0) % 2 == 1": "depth_scale is missing",
        "(depths[:, None] < (torch.arange(slices) + 0.5) * depth_scale).sum(0) % 2 == 1": "divide",
        "(depths[:, None] >= (torch.arange(slices) + 0.5) / depth_scale).sum(0) % 2 == 0": "swapped",
    },
    "01.2": {
        "True": "every edge",
        "dy < 0": "top edge is missing",
        "dy > 0 or (dy == 0 and dx < 0)": "bottom-right",
        "dy > 0 or (dy == 0 and dx > 0)": "left edge",
        "dy <= 0": "horizontal",
    },
    "01.3": {
        "indices.flip(1) / torch.tensor([1, 1, depth_scale])": "half voxel",
        "(indices + 0.5) / torch.tensor([depth_scale, 1, 1])": "reversed",
        "indices.flip(1) / torch.tensor([1, 1, depth_scale]) + 0.5": "first and divide",
        "indices.flip(1) + 0.5": "depth_scale is missing",
    },
    "02.1": {
        "torch.einsum('i,ivc->vc', coefficients, modes)": "mean is missing",
        "mean + modes.sum(0)": "coefficients",
        "mean + (coefficients[:, None, None] * modes).mean(0)": "average",
    },
    "02.2": {
        "scale * points @ rotation.T + translation": "upside down",
        "scale * torch.tensor([1, -1, 1]) * (points @ rotation.T) + translation": "reflection",
        "scale * torch.tensor([1, -1, -1]) * (points @ rotation) + translation": "inverse",
        "scale * (torch.tensor([1, -1, -1]) * (points @ rotation.T) + translation)": "scale first",
    },
    "02.3": {
        "torch.stack((width - points[:, 0], points[:, 1], points[:, 2]), 1)": "renumbered",
        "points[flip]": "not moved",
        "torch.stack((width - 1 - points[flip][:, 0], *points[flip][:, 1:].T), 1)": "no - 1",
        "points[flip] * torch.tensor([-1, 1, 1])": "not -x",
    },
    "03.1": {
        "convolutions[2](torch.relu(norms[2](convolutions[1](torch.relu(norms[1](convolutions[0](torch.relu(norms[0](x)))))))))": "identity path is missing",
        "torch.relu(x + convolutions[2](torch.relu(norms[2](convolutions[1](torch.relu(norms[1](convolutions[0](torch.relu(norms[0](x))))))))))": "on the sum",
        "x + torch.relu(norms[2](convolutions[2](torch.relu(norms[1](convolutions[1](torch.relu(norms[0](convolutions[0](x)))))))))": "post-activation",
        "x + convolutions[2](norms[2](convolutions[1](norms[1](convolutions[0](norms[0](x))))))": "ReLUs are missing",
    },
    "03.2": {
        "width_in * width_out // 2 + 9 * (width_out // 2) ** 2 + width_out**2 // 2 + (width_in != width_out) * width_in * width_out": "only the convolutions",
        "2 * width_in + 2 * width_out + (width_in + 1 + 9 * (width_out // 2) + 1 + width_out) * (width_out // 2) + width_out": "the identity path is missing",
        "2 * width_in + (width_in + 9 * (width_out // 2) + 6 + width_out) * (width_out // 2) + width_out + (width_in + 1) * width_out": "widths are equal",
        "width_in + width_out + (width_in + 2 + 9 * (width_out // 2) + width_out) * (width_out // 2) + width_out"
        " + (width_in != width_out) * (width_in + 1) * width_out": "a scale and a shift",
    },
    "03.3": {
        "13 * m + 4": "four levels only",
        "3 * levels * m + levels": "innermost",
        "(3 * levels + 1) * m": "after each sum",
        "(2 * levels + 1) * m + levels": "three places",
    },
    "03.4": {
        "1 + sum(kernel - 1 for kernel, stride in layers)": "jump is missing",
        "1 + sum((kernel - 1) * stride for kernel, stride in layers)": "product of all strides",
        "__import__('functools').reduce(lambda size, layer: (size - 1) * layer[1] + layer[0], layers, 1)": "last layer to the first",
    },
    "04.1": {
        "-torch.where(volume, torch.log(torch.sigmoid(logits)), torch.log(1 - torch.sigmoid(logits))).sum()": "mean is wanted",
        "torch.where(volume, torch.log(torch.sigmoid(logits)), torch.log(1 - torch.sigmoid(logits))).mean()": "sign",
        "-(volume * torch.log(torch.sigmoid(logits))).mean()": "outside",
        "-torch.where(volume, torch.log(1 - torch.sigmoid(logits)), torch.log(torch.sigmoid(logits))).mean()": "swapped",
        "((torch.sigmoid(logits) - volume.float()) ** 2).mean()": "squared error",
        "-torch.where(volume, torch.log2(torch.sigmoid(logits)), torch.log2(1 - torch.sigmoid(logits))).mean()": "bits",
    },
    "04.2": {
        "(weight - rate * gradient, 0.99 * mean_square + 0.01 * gradient**2)": "plain gradient descent",
        "(weight - rate * gradient / (mean_square.sqrt() + 1e-8), 0.99 * mean_square + 0.01 * gradient**2)": "old mean square",
        "(weight + rate * gradient / ((0.99 * mean_square + 0.01 * gradient**2).sqrt() + 1e-8), 0.99 * mean_square + 0.01 * gradient**2)": "uphill",
        "(weight - rate * gradient / ((0.99 * mean_square + 0.01 * gradient**2) + 1e-8), 0.99 * mean_square + 0.01 * gradient**2)": "square root is missing",
        "(weight - rate * gradient / ((0.01 * mean_square + 0.99 * gradient**2).sqrt() + 1e-8), 0.01 * mean_square + 0.99 * gradient**2)": "swapped",
    },
    "04.3": {
        "((chances > 0.5) & volume).sum() / volume.sum()": "true solid only",
        "((chances > 0.5) & volume).sum() / (chances > 0.5).sum()": "predicted solid only",
        "2 * ((chances > 0.5) & volume).sum() / (volume.sum() + (chances > 0.5).sum())": "Dice",
        "((chances > 0.5) == volume).float().mean()": "flatter",
        "(chances * volume).sum() / (chances + volume.float() - chances * volume).sum()": "not rounded",
    },
    "05.1": {
        "(logits.argmax() % logits.shape[1] + 0.5, logits.argmax() // logits.shape[1] + 0.5)": "best cell",
        "((logits.flatten().softmax(0).view(logits.shape).sum(0) * torch.arange(logits.shape[1])).sum(), "
        "(logits.flatten().softmax(0).view(logits.shape).sum(1) * torch.arange(logits.shape[0])).sum())": "half cell",
        "((logits.flatten().softmax(0).view(logits.shape).sum(1) * (torch.arange(logits.shape[0]) + 0.5)).sum(), "
        "(logits.flatten().softmax(0).view(logits.shape).sum(0) * (torch.arange(logits.shape[1]) + 0.5)).sum())": "swapped",
    },
    "05.2": {
        "-(truth * logits.flatten().log_softmax(0).view(truth.shape)).sum()": "entropy",
        "(truth * (logits.flatten().log_softmax(0).view(truth.shape) - truth.log())).sum()": "sign",
        "(truth * (truth.log() - logits.flatten().log_softmax(0).view(truth.shape))).mean()": "add up",
        "(truth * (truth.log() - logits.log_softmax(1))).sum()": "one axis",
        "((logits.flatten().softmax(0).view(truth.shape) - truth) ** 2).sum()": "squared error",
    },
    "06.1": {
        "torch.exp(-0.5 * ((torch.arange(height)[:, None] - y) ** 2 + (torch.arange(width) - x) ** 2) / sigma**2)": "half pixel is missing",
        "torch.exp(-0.5 * ((torch.arange(height)[:, None] + 0.5 - x) ** 2 + (torch.arange(width) + 0.5 - y) ** 2) / sigma**2)": "swapped",
        "torch.exp(-((torch.arange(height)[:, None] + 0.5 - y) ** 2 + (torch.arange(width) + 0.5 - x) ** 2) / sigma**2)": "1/2 in the exponent",
        "torch.exp(-0.5 * ((torch.arange(height)[:, None] + 0.5 - y) ** 2 + (torch.arange(width) + 0.5 - x) ** 2) / sigma)": "sigma is not squared",
    },
    "06.2": {
        "(predicted - truth[:, :2]).norm(dim=1).mean() / (truth[37] - truth[46]).norm()": "counted from 1",
        "(predicted - truth[:, :2]).norm(dim=1).mean() / (truth[36, :2] - truth[45, :2]).norm()": "in profile",
        "(predicted - truth[:, :2]).norm(dim=1).sum() / (truth[36] - truth[45]).norm()": "mean is wanted",
        "(predicted - truth[:, :2]).norm(dim=1).mean()": "pixels",
        "(predicted - truth[:, :2]).abs().mean() / (truth[36] - truth[45]).norm()": "coordinates",
    },
    "07.1": {
        "(predicted[: len(truth)] - truth).norm(dim=1).mean() / (landmarks[36] - landmarks[45]).norm()": "pairs are not used",
        "(predicted[pairs] - truth).norm(dim=1).mean() / (landmarks[37] - landmarks[46]).norm()": "counted from 1",
        "(predicted[pairs] - truth).norm(dim=1).mean() / (landmarks[36, :2] - landmarks[45, :2]).norm()": "in profile",
        "(predicted[pairs] - truth).abs().mean() / (landmarks[36] - landmarks[45]).norm()": "coordinates",
        "((predicted[pairs] - truth) ** 2).sum(1).mean() ** 0.5 / (landmarks[36] - landmarks[45]).norm()": "root of the mean square",
    },
    "07.2": {
        "1 - errors.mean() / limit": "negative",
        "(limit - errors).clamp(min=0).mean()": "divide by the limit",
        "(errors / limit).clamp(max=1).mean()": "above the curve",
        "sum(errors <= limit) / len(errors)": "height",
    },
    "07.3": {
        "(b - a)[picks].mean(1).quantile(torch.tensor([0.025, 0.975]))": "sign",
        "(a - b).quantile(torch.tensor([0.025, 0.975]))": "spread of the faces",
        "(a - b)[picks].mean(0).quantile(torch.tensor([0.025, 0.975]))": "over the redraws",
        "(a[picks].mean(1) - b.mean()).quantile(torch.tensor([0.025, 0.975]))": "same faces",
        "torch.sort((a - b)[picks].mean(1)).values.quantile(torch.tensor([0.05, 0.95]))": "90 %",
    },
    "08.1": {
        "(points - translation) @ rotation.T / scale": "transpose",
        "points @ rotation / scale - translation": "came last",
        "(points / scale - translation) @ rotation": "in pixels",
        "(points - translation) @ rotation * scale": "you divide",
        "scale * points @ rotation.T + translation": "camera itself",
    },
    "08.2": {
        "(predicted * truth).sum() / (predicted.norm() * truth.norm())": "in common",
        "((predicted - predicted.mean(1, keepdim=True)) * (truth - truth.mean(1, keepdim=True))).sum()"
        " / ((predicted - predicted.mean(1, keepdim=True)).norm() * (truth - truth.mean(1, keepdim=True)).norm())": "over the people",
        "((predicted - predicted.mean(0)) * (truth - truth.mean(0))).sum() / (truth - truth.mean(0)).square().sum()": "slope",
        "((predicted - predicted.mean(0)) * (truth - truth.mean(0))).mean()": "covariance",
        "torch.cosine_similarity(predicted - predicted.mean(0), truth - truth.mean(0), dim=1).mean()": "each person",
    },
    "08.3": {
        f"(lambda away: away <= away.quantile(share))({AWAY})": "whole picture",
        f"(lambda away: away <= away[face].quantile(1 - share))({AWAY})": "to be seen",
        f"(lambda away: away <= share * away[face].max())({AWAY})": "take a quantile",
        f"face & (lambda away: away <= away[face].quantile(share))({AWAY})": "patch ends",
    },
    "09.1": {
        "landmarks + pixels * noise": "1.25 times",
        "landmarks + pixels * noise * (torch.pi / 2) ** 0.5": "divide",
        "landmarks + pixels * noise / 2**0.5": "mean square",
        "landmarks + pixels * noise / noise.norm(dim=1, keepdim=True)": "same distance",
        "landmarks + pixels * noise / noise.norm(dim=1).mean()": "this one draw",
    },
    "09.2": {
        "(b - a).mean(), (b - a).std() / len(a) ** 0.5": "sign",
        "(a - b).mean(), (a - b).std()": "surer",
        "(a - b).mean(), (a - b).std(correction=0) / len(a) ** 0.5": "n - 1",
        "a.mean() - b.mean(), ((a.var() + b.var()) / len(a)) ** 0.5": "pairs are lost",
    },
    "09.3": {
        "errors[normals[:, 2] > 0].mean(), errors[normals[:, 2] <= 0].mean()": "swapped",
        "errors[normals[:, 0] < 0].mean(), errors[normals[:, 0] >= 0].mean()": "left from right",
        "(errors * (normals[:, 2] < 0)).mean(), (errors * (normals[:, 2] >= 0)).mean()": "its own number",
        "errors[normals[:, 2] < 0].sum(), errors[normals[:, 2] >= 0].sum()": "mean is wanted",
    },
}

ALSO_WRONG = {  # less typical, made to slip through: right in some cases, or nearly
    "01.1": [
        "(torch.arange(slices) + 0.5) / depth_scale > (depths.min() if len(depths) else 1e9)",
        "torch.bincount((depths * depth_scale).long().clamp(0, slices), minlength=slices + 1)[:slices].cumsum(0) % 2",
        "(depths[1:, None] < (torch.arange(slices) + 0.5) / depth_scale).sum(0) % 2 == 0",
    ],
    "01.2": ["dx > 0 and dy <= 0", "abs(dx) > abs(dy) or dy < 0", "dx >= 0 and dy == 0 or dy < -1"],
    "01.3": ["(indices.flip(1) + 0.5) / depth_scale", "torch.cat((indices[:, [2, 1]] + 0.5, indices[:, :1] / depth_scale), 1)"],
    "02.1": ["mean + (coefficients.abs()[:, None, None] * modes).sum(0)", "mean + coefficients.sum() * modes.sum(0)"],
    "02.2": [
        "scale * torch.tensor([1, -1, -1]) * (points @ rotation.T + translation)",
        "scale * torch.tensor([-1, -1, -1]) * (points @ rotation.T) + translation",
    ],
    "02.3": ["width - points[flip]", "torch.stack((width - points[:, 0], *points[flip][:, 1:].T), 1)"],
    "03.1": [
        "x + convolutions[1](torch.relu(norms[1](convolutions[0](torch.relu(norms[0](x))))))",
        "2 * x + convolutions[2](torch.relu(norms[2](convolutions[1](torch.relu(norms[1](convolutions[0](torch.relu(norms[0](x)))))))))",
    ],
    "03.2": [
        "2 * width_in + 2 * width_out + (width_in + 2 + 9 * (width_out // 2) + width_out) * (width_out // 2) + width_out"
        " + (width_in < width_out) * (width_in + 1) * width_out",
        "2 * width_in + 2 * width_out + (width_in + 2 + 9 * (width_out // 2) + width_out) * (width_out // 2) + width_out + 1"
        " + (width_in != width_out) * (width_in + 1) * width_out",
    ],
    "03.3": ["2**levels * m", "3 * levels * m + m + levels - 1", "(3 * levels + 2) * m + (m == 1) * (levels - 1)"],
    "03.4": ["sum(kernel for kernel, stride in layers)", "1 + 2 * sum(stride * (kernel // 2) for kernel, stride in layers)"],
    "04.1": [
        "torch.nn.functional.binary_cross_entropy(logits.sigmoid().clamp(0.01, 0.99), volume.float())",
        "torch.nn.functional.binary_cross_entropy_with_logits(logits, volume.float(), pos_weight=torch.tensor(2.0))",
    ],
    "04.2": [
        "(weight - rate * gradient.sign(), 0.99 * mean_square + 0.01 * gradient**2)",
        "(weight - rate * gradient / ((0.9 * mean_square + 0.1 * gradient**2).sqrt() + 1e-8), 0.9 * mean_square + 0.1 * gradient**2)",
    ],
    "04.3": [
        "((chances > 0.4) & volume).sum() / ((chances > 0.4) | volume).sum()",
        "(chances * volume).sum() / ((chances > 0.5) | volume).sum()",
    ],
    "05.1": [
        "(lambda p, q: ((p * (torch.arange(p.shape[1]) + 0.5)).sum(1).mean(), (q.T * (torch.arange(p.shape[0]) + 0.5)).sum(1).mean()))"
        "(logits.softmax(1), logits.softmax(0))",
        "(lambda p: ((p.sum(0) * (torch.arange(p.shape[1]) + 0.5)).sum(), (p.sum(1) * (torch.arange(p.shape[0]) + 0.5)).sum()))"
        "(logits.relu() / logits.relu().sum())",
    ],
    "05.2": ["(truth * (truth.log() - logits)).sum()", "(truth * (truth.log() - logits.sigmoid().log())).sum()"],
    "06.1": [
        "torch.exp(-0.25 * ((torch.arange(height)[:, None] + 0.5 - y) ** 2 + (torch.arange(width) + 0.5 - x) ** 2) / sigma**2)",
        "torch.exp(-0.5 * ((torch.arange(height)[:, None] + 0.5 - y).abs() + (torch.arange(width) + 0.5 - x).abs()) ** 2 / sigma**2)",
    ],
    "06.2": [
        "(predicted - truth[:, :2]).norm(dim=1).median() / (truth[36] - truth[45]).norm()",
        "(predicted - truth[:, :2]).norm(dim=1).mean() / (predicted[36] - predicted[45]).norm()",
    ],
    "07.1": [
        "torch.cdist(truth, predicted).min(1).values.mean() / (landmarks[36] - landmarks[45]).norm()",
        "(predicted[pairs] - truth).norm(dim=1).median() / (landmarks[36] - landmarks[45]).norm()",
    ],
    "07.2": ["1 - errors.mean().clamp(max=limit) / limit", "(errors[:, None] <= torch.linspace(0, limit, 1001)).float().mean()"],
    "07.3": [
        "(a - b).mean() + torch.tensor([-1.96, 1.96]) * (a - b)[picks].mean(1).std()",
        "torch.stack(((a - b)[picks].mean(1).min(), (a - b)[picks].mean(1).max()))",
    ],
    "08.1": ["(points - translation / scale) @ rotation / scale", "(points - translation) @ rotation / scale * torch.tensor([1, -1, -1])"],
    "08.2": [
        "((predicted - predicted.mean(0)) * (truth - truth.mean(0))).sum().abs() / ((predicted - predicted.mean(0)).norm() * (truth - truth.mean(0)).norm())",
        "(((predicted - predicted.mean(0)) * (truth - truth.mean(0))).sum() / ((predicted - predicted.mean(0)).norm() * (truth - truth.mean(0)).norm())) ** 2",
    ],
    "08.3": [
        f"(lambda away: away <= away[face].mean())({AWAY})",
        f"(lambda away: away <= (share * face.sum() / torch.pi) ** 0.5)({AWAY})",
    ],
    "09.1": ["landmarks + pixels * noise / noise.std()", "landmarks + pixels * torch.sign(noise)"],
    "09.2": ["a.mean() - b.mean(), a.std() / len(a) ** 0.5", "(a - b).median(), (a - b).std() / len(a) ** 0.5"],
    "09.3": [
        "errors[normals[:, 2] < -0.5].mean(), errors[normals[:, 2] >= -0.5].mean()",
        "errors[normals[:, 2] < 0].median(), errors[normals[:, 2] >= 0].median()",
    ],
}

RIGHT = {  # other ways to write the solution
    "01.1": [
        "torch.tensor([sum(float(z) < (d + 0.5) / depth_scale for z in depths) % 2 == 1 for d in range(slices)])",
        "torch.bincount((depths * depth_scale - 0.5).ceil().clamp(0, slices).long(), minlength=slices + 1)[:slices].cumsum(0) % 2",
    ],
    "01.2": ["dy < 0 if dy else dx > 0", "(dy, -dx) < (0, 0)"],
    "01.3": [
        "[[c + 0.5, r + 0.5, (d + 0.5) / depth_scale] for d, r, c in indices.tolist()]",
        "(indices.flip(1) + 0.5) / torch.tensor([1, 1, depth_scale])",
    ],
    "02.1": ["mean + (coefficients[:, None, None] * modes).sum(0)", "mean + torch.tensordot(coefficients, modes, 1)"],
    "02.2": [
        "scale * torch.tensor([1, -1, -1]) * (rotation @ points.T).T + translation",
        "points @ (scale * torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotation).T + translation",
    ],
    "02.3": [
        "torch.stack((width - points[flip, 0], points[flip, 1], points[flip, 2]), 1)",
        "(points * torch.tensor([-1, 1, 1]) + torch.tensor([width, 0, 0]))[flip]",
    ],
    "03.1": ["x + convolutions[2](norms[2](convolutions[1](norms[1](convolutions[0](norms[0](x).relu())).clamp(min=0))).relu())"],
    "03.2": [
        "2 * width_in + 2 * width_out + (width_in + 2 + 9 * width_out / 2 + width_out) * width_out / 2 + width_out"
        " + (width_in != width_out) * (width_in + 1) * width_out"
    ],
    "03.3": ["levels * (3 * m + 1) + m"],
    "03.4": ["__import__('functools').reduce(lambda size, layer: (size - 1) * layer[1] + layer[0], layers[::-1], 1)"],
    "04.1": [
        "torch.nn.functional.binary_cross_entropy(logits.sigmoid(), volume.float())",
        "torch.nn.functional.softplus(torch.where(volume, -logits, logits)).mean()",
    ],
    "04.2": ["(lambda s: (weight - rate * gradient / (s.sqrt() + 1e-8), s))(mean_square + 0.01 * (gradient**2 - mean_square))"],
    "04.3": ["1 - ((chances > 0.5) ^ volume).sum() / ((chances > 0.5) | volume).sum()"],
    "05.1": [
        "(lambda p: ((p.sum(0) * (torch.arange(p.shape[1]) + 0.5)).sum(), (p.sum(1) * (torch.arange(p.shape[0]) + 0.5)).sum()))"
        "(logits.exp() / logits.exp().sum())"
    ],
    "05.2": ["(truth * (truth * logits.exp().sum() / logits.exp()).log()).sum()"],
    "06.1": [
        "torch.outer(torch.exp(-0.5 * ((torch.arange(height) + 0.5 - y) / sigma) ** 2), torch.exp(-0.5 * ((torch.arange(width) + 0.5 - x) / sigma) ** 2))"
    ],
    "06.2": ["(predicted - truth[:, :2]).square().sum(1).sqrt().mean() / torch.dist(truth[36], truth[45])"],
    "07.1": ["torch.nn.functional.pairwise_distance(predicted[pairs], truth).mean() / torch.dist(landmarks[36], landmarks[45])"],
    "07.2": ["1 - errors.clamp(max=limit).mean() / limit", "sum(max(0.0, 1 - float(e) / limit) for e in errors) / len(errors)"],
    "07.3": ["__import__('numpy').percentile((a[picks] - b[picks]).mean(1).numpy(), [2.5, 97.5])"],
    "08.1": ["torch.linalg.solve(rotation * scale, (points - translation).T).T"],
    "08.2": ["torch.cosine_similarity((predicted - predicted.mean(0)).flatten(), (truth - truth.mean(0)).flatten(), dim=0)"],
    "08.3": [f"(lambda away: away <= away[face].sort().values[-int(-share * face.sum() // 1) - 1])({AWAY})"],
    "09.1": ["landmarks + noise * pixels / 1.2533"],
    "09.2": ["(lambda g: (g.mean(), ((g - g.mean()).square().sum() / (len(g) - 1) / len(g)).sqrt()))(a - b)"],
    "09.3": ["[(errors * side).sum() / side.sum() for side in (normals[:, 2] < 0, normals[:, 2] >= 0)]"],
}


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def exercises() -> list[tuple[str, str, str]]:
    """(number, code of the blank, code of the solution) of every exercise in the students' notebooks."""
    found = []
    for path in NOTEBOOKS:
        pages = cells(path)
        for cell, following in zip(pages, pages[1:], strict=False):
            text = "".join(cell["source"])
            if cell["cell_type"] == "code" and (match := re.search(r'exercises\.check\("([\d.]+)", (\w+)\)', text)):
                solution = re.search(r"<details>.*?```python\n(.*?)```.*?</details>", "".join(following["source"]), re.S)
                found.append((match[1], text.split("exercises.check")[0], solution[1] if solution else ""))
    return found


def function(code: str) -> Callable[..., Any]:
    """The last function that some code defines."""
    scope: dict[str, Any] = {"torch": torch}
    exec(code, scope)
    return scope[[node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)][-1]]


BLANKS = {number: blank for number, blank, _ in exercises()}


def answer(number: str, line: str) -> Callable[..., Any]:
    """The exercise's function with a line in the place of its blank."""
    return function(BLANKS[number].replace("...", line))


@dataclass(frozen=True)
class Mutations:
    """Wrong answers to one exercise: how many were tried, how many were rejected, and how many of the typical ones with their own hint."""

    number: str
    tried: int
    rejected: int
    typical: int
    hinted: int


def mutations(number: str) -> Mutations:
    """Try all wrong answers to an exercise."""
    found = [book.check(number, answer(number, line)) for line in (*WRONG[number], *ALSO_WRONG[number])]
    hinted = sum(word in feedback.text for word, feedback in zip(WRONG[number].values(), found, strict=False))
    return Mutations(number, len(found), sum(feedback.right is False for feedback in found), len(WRONG[number]), hinted)


def main() -> None:
    lines = [mutations(number) for number in book.EXERCISES]
    total = Mutations("all", *(sum(getattr(line, name) for line in lines) for name in ("tried", "rejected", "typical", "hinted")))
    print("| exercise | wrong answers tried | rejected | typical ones | with their own hint |\n|---|---|---|---|---|")
    for line in (*lines, total):
        print(f"| {line.number} | {line.tried} | {line.rejected} | {line.typical} | {line.hinted} |")


if __name__ == "__main__":
    main()
