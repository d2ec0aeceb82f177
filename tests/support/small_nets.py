"""Small networks as .tflite files, to ask compilers of NPUs about."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.export.backends.litert.convert import convert_litert
from mcad_mobile.export.backends.litert.quantize import quantize_litert

PIXELS = (TensorSpec("pixels", "float32", (1, 3, 16, 16), "NCHW"),)


class Net(nn.Module):
    """Two sines and a search for the largest, which the compiler leaves to the CPU, among what it
    takes."""

    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.sin(torch.sin(self.convolution(x)).mean((2, 3)))
        return self.head(x) + x.argmax(1).float()


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(F.gelu(self.convolution(x)).mean((2, 3)))


class Many(nn.Module):
    """Operators of every kind that a tower might have, side by side."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(3, 3, 3, groups=3)
        self.prelu = nn.PReLU(3)
        self.linear = nn.Linear(16, 4)
        self.transposed = nn.ConvTranspose2d(3, 4, 2, stride=2)

    def forward(self, x):
        y = x * 2 - 1
        shifted = y + 3
        return (
            *(f(x) for f in (torch.abs, torch.neg, torch.exp, torch.sin, torch.cos, torch.floor)),
            *(f(shifted) for f in (torch.log, torch.sqrt, torch.rsqrt, torch.ceil, torch.round)),
            *(f(y) for f in (F.relu, F.relu6, F.elu, F.gelu, F.hardswish, F.sigmoid, torch.tanh)),
            F.leaky_relu(y, 0.1),
            self.prelu(y),
            y.softmax(3),
            y.log_softmax(3),
            torch.maximum(x, y),
            torch.minimum(x, y),
            x / shifted,
            (x > y).float(),
            (x < y).float(),
            (x >= y).float(),
            torch.where(x > y, x, y),
            x.argmax(1),
            x.cumsum(1),
            x.repeat(1, 2, 1, 1),
            torch.stack([x, y], 1),
            torch.cat([x, y], 1),
            x.pow(3.0),
            x.amax((2, 3)),
            x.amin((2, 3)),
            x.sum((2, 3)),
            x.mean((2, 3)),
            x.prod(3),
            F.max_pool2d(x, 2),
            F.avg_pool2d(x, 2),
            F.pad(x, (1, 1, 1, 1)),
            F.pad(x, (1, 1, 1, 1), value=2.0),
            F.interpolate(x, scale_factor=2.0, mode="bilinear"),
            F.interpolate(x, scale_factor=2.0, mode="nearest"),
            x[:, :, 2:10, ::2],
            x.transpose(1, 2),
            x.reshape(1, -1),
            torch.matmul(x, y.transpose(2, 3)),
            x.index_select(3, torch.tensor([1, 3, 3])),
            F.normalize(x.reshape(1, -1)),
            self.convolution(x),
            self.depthwise(x),
            self.linear(x),
            self.transposed(x),
        )


def write(net, path, precision=None):
    """A .tflite of `net`, in float or quantized on noise."""
    torch.manual_seed(0)
    convert_litert(net, path, PIXELS)
    if precision is None:
        return path
    noise = np.random.default_rng(0).random((4, 3, 16, 16), np.float32)
    out = path.with_name(f"{precision}.tflite")
    quantize_litert(path, out, {"pixels": noise}, PIXELS, precision)
    return out
