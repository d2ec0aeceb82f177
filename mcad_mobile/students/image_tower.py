"""EfficientNet-Lite0 without batch norm: photo -> embedding."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

# (blocks, kernel, stride, expansion, channels) of each stage: EfficientNet-Lite0 as published in
# tensorflow/tpu, models/official/efficientnet/lite (no squeeze-excite, ReLU6 everywhere).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FEATURES = 1280


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding for even inputs: a stride of 2 pads less at the
    top and left than at the bottom and right. The ImageNet weights were trained so."""

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


class ImageTower(nn.Module):
    """Photos [B, 3, S, S] float32 -> embeddings [B, dim] float32, not normalized.

    The batch norms of the ImageNet weights are folded into the convolutions (see
    distill/pretrained.py), so that training, export and quantization see the same weights.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2)
        blocks: list[Block] = []
        cin = 32
        for count, kernel, stride, expansion, cout in STAGES:
            for i in range(count):
                blocks.append(Block(cin, cout, kernel, stride if i == 0 else 1, expansion))
                cin = cout
        self.blocks = nn.Sequential(*blocks)
        self.head_conv = SameConv(cin, FEATURES, 1)
        self.head = Head(FEATURES, hidden, dim)

    def features(self, pixels: Tensor) -> Tensor:
        """Photos [B, 3, S, S] -> pooled features [B, 1280], what ImageNet's classifier sees."""
        x = self.blocks(F.relu6(self.stem(pixels)))
        return F.relu6(self.head_conv(x)).mean((2, 3))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))  # type: ignore[no-any-return]


class Head(nn.Module):
    """Features [B, cin] -> embedding [B, dim]: a linear map plus a hidden layer's correction."""

    def __init__(self, cin: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(cin, dim)
        self.up = nn.Linear(cin, hidden)
        self.down = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(x)
        return self.linear(x) + self.down(self.dropout(F.relu(self.up(x))))  # type: ignore[no-any-return]
