"""EfficientNet-Lite without batch norm: photo -> embedding."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

# (blocks, kernel, stride, expansion, channels) of each stage: EfficientNet-Lite0 as published in
# tensorflow/tpu, models/official/efficientnet/lite (no squeeze-excite, ReLU6 everywhere).
Stages = tuple[tuple[int, int, int, int, int], ...]
LITE0: Stages = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FEATURES = 1280


def scaled(width: float, depth: float) -> Stages:
    """Scale by width and depth (arXiv 1905.11946, section 3.3); channels are multiples of 8."""
    out = []
    for i, (blocks, kernel, stride, expansion, channels) in enumerate(LITE0):
        deeper = blocks if i in (0, len(LITE0) - 1) else math.ceil(blocks * depth)
        wider = int(channels * width + 4) // 8 * 8
        if wider < 0.9 * channels * width:
            wider += 8
        out.append((deeper, kernel, stride, expansion, wider))
    return tuple(out)


STAGES = {0: LITE0, 2: scaled(width=1.1, depth=1.2)}  # by the size of the network


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding for even inputs, which the ImageNet weights need:
    at stride 2 it pads less at the top and left than at the bottom and right."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(cin, cout, kernel, stride, groups=groups)
        total = kernel - stride
        self.pads = (total // 2, total - total // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pads) if any(self.pads) else x)


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise kxk, project 1x1."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = cin * expansion
        self.expand = SameConv(cin, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = SameConv(wide, cout, 1)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        projected: Tensor = self.project(F.relu6(self.depthwise(y)))
        return x + projected if self.residual else projected


class Trunk(nn.Module):
    """Photos [B, 3, S, S] float32 -> the features of an ImageNet classifier, with its batch norms
    folded into the convolutions (distill/pretrained.py)."""

    def __init__(self, stages: Stages = LITE0) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2)
        blocks: list[Block] = []
        cin = 32
        for count, kernel, stride, expansion, cout in stages:
            for i in range(count):
                blocks.append(Block(cin, cout, kernel, stride if i == 0 else 1, expansion))
                cin = cout
        self.blocks = nn.Sequential(*blocks)
        self.head_conv = SameConv(cin, FEATURES, 1)

    def grid(self, pixels: Tensor, without: int = 0) -> Tensor:
        """Return [B, C, S/32, S/32], the output of all blocks but the last `without`."""
        blocks = self.blocks[: len(self.blocks) - without]
        return blocks(F.relu6(self.stem(pixels)))  # type: ignore[no-any-return]

    def features(self, pixels: Tensor) -> Tensor:
        """Photos [B, 3, S, S] -> pooled features [B, 1280]."""
        return F.relu6(self.head_conv(self.grid(pixels))).mean((2, 3))


class ImageTower(Trunk):
    """Photos [B, 3, S, S] float32 -> embeddings [B, dim] float32, not normalized. `size`: of the
    trunk; `classes`: of the classifier whose probabilities the head reads, or 0."""

    def __init__(self, dim: int, hidden: int, size: int = 0, classes: int = 0) -> None:
        super().__init__(STAGES[size])
        self.head = ClassHead(classes, dim) if classes else Head(FEATURES, hidden, dim)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))  # type: ignore[no-any-return]


class Head(nn.Module):
    """Features [B, cin] -> embeddings [B, dim]: a linear map plus a hidden layer's correction."""

    def __init__(self, cin: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(cin, dim)
        self.up = nn.Linear(cin, hidden)
        self.down = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(x)
        return self.linear(x) + self.down(self.dropout(F.relu(self.up(x))))  # type: ignore[no-any-return]


class ClassHead(nn.Module):
    """Features [B, 1280] -> embeddings [B, dim]: the mean of the classes' embeddings, weighted by a
    classifier's probabilities (ConSE, arXiv 1312.5650)."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.classify = nn.Linear(FEATURES, classes)
        self.embed = nn.Linear(classes, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(self.classify(x).softmax(-1))  # type: ignore[no-any-return]
