"""Boxes of text in a detector's map are those that OpenCV finds."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.native import load_kernel

SIDE = 160


def map_of_lines(seed: int) -> F32:
    """Some rotated bars, parts of bars and specks, some of them weak, as a detector's map shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    found = rng.uniform(0, 0.25, (SIDE, SIDE)).astype(np.float32)
    for _ in range(14):
        angle, (u, v) = rng.uniform(0, np.pi), rng.uniform(0, SIDE, 2)
        along = (x - u) * np.cos(angle) + (y - v) * np.sin(angle)
        across = (y - v) * np.cos(angle) - (x - u) * np.sin(angle)
        inside = (abs(along) < rng.uniform(2, 30)) & (abs(across) < rng.uniform(0.5, 6))
        found[inside] = rng.uniform(0.31, 1, inside.sum()) ** rng.uniform(0.1, 1)
    return found


def boxes_of_opencv(found: F32) -> list[tuple[F32, float]]:
    """Corners and score of each box, by OpenCV's components and rectangles."""
    cv2: Any = pytest.importorskip("cv2", reason="needs opencv-python-headless")
    count, labels = cv2.connectedComponents((found > 0.3).astype(np.uint8), connectivity=8)
    boxes = []
    for label in range(1, count):
        y, x = np.nonzero(labels == label)
        corners = [np.stack([x + u, y + v], 1) for u in (0, 1) for v in (0, 1)]
        middle, (width, height), angle = cv2.minAreaRect(np.concatenate(corners).astype(np.float32))
        if min(width, height) < 3 - 1e-3:
            continue
        box = cv2.boxPoints((middle, (width, height), angle))
        middles = np.mgrid[:SIDE, :SIDE][::-1].reshape(2, -1).T + 0.5 - middle
        axes = (box[1] - box[0], box[2] - box[1])
        inside = np.logical_and.reduce(
            [abs(middles @ axis) <= (axis @ axis) / 2 + 1e-3 for axis in axes]
        )
        score = found.reshape(-1)[inside].mean()
        if score >= 0.5:
            more = 1.6 * width * height / (width + height)
            boxes.append((cv2.boxPoints((middle, (width + more, height + more), angle)), score))
    return boxes


@pytest.mark.parametrize("seed", range(20))
def test_components_rectangles_and_scores_are_those_of_opencv(seed: int) -> None:
    found = map_of_lines(seed)
    expected = boxes_of_opencv(found)
    assert len(expected) > 1
    left = [(box[:8].reshape(4, 2), box[8]) for box in load_kernel().find_boxes(found, 100)]
    assert len(left) == len(expected)
    for corners, score in expected:
        # The same corners in whatever order; two rectangles of the same area are both right.
        distances = [
            np.linalg.norm(corners[:, None] - box[None], axis=2).min(1).max() for box, _ in left
        ]
        own = left.pop(int(np.argmin(distances)))[1]
        assert min(distances) < 0.05
        assert own == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize("angle", [-80, -60, -30, 0, 30, 80])
def test_corners_go_clockwise_from_the_upper_left(angle: float) -> None:
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    bar = (abs(x * cos + y * sin) < 40) & (abs(y * cos - x * sin) < 5)
    (box,) = load_kernel().find_boxes(bar.astype(np.float32), 9)
    corners = box[:8].reshape(4, 2) - SIDE / 2
    more = 1.6 * 80 * 10 / 180  # the area by the circumference, on each side
    steep = abs(angle) > 45
    u, v = (5 + more, 40 + more) if steep else (40 + more, 5 + more)
    if steep:
        cos, sin = (sin, -cos) if angle > 0 else (-sin, cos)
    expected = [[a * cos - b * sin, a * sin + b * cos] for a, b in ((-u, -v), (u, -v), (u, v))]
    assert corners[:3] == pytest.approx(np.array(expected), abs=3)
    assert box[8] > 0.8


def test_only_the_surest_boxes_are_kept() -> None:
    found = np.zeros((SIDE, SIDE), np.float32)
    scores = np.random.default_rng(0).permutation(np.linspace(0.55, 1, 49))
    for at, score in enumerate(scores):
        found[at // 7 * 20 : at // 7 * 20 + 5, at % 7 * 20 : at % 7 * 20 + 9] = score
    boxes = load_kernel().find_boxes(found, 10)
    assert sorted(boxes[:, 8]) == pytest.approx(sorted(scores)[-10:], abs=1e-6)


def worst_maps() -> dict[str, F32]:
    y, x = np.mgrid[:2048, :2048]
    rng = np.random.default_rng(1)
    return {
        "noise": rng.uniform(0, 1, (2048, 2048)).astype(np.float32),
        "a million specks": ((x % 2 == 0) & (y % 2 == 0)).astype(np.float32),
        "the most boxes": ((x % 4 != 0) & (y % 4 != 0)).astype(np.float32),
        "diagonals": ((x + y) % 12 < 5).astype(np.float32),
        "nested corners": (np.minimum(x, y) % 12 < 5).astype(np.float32),
        "one speck": ((x == 9) & (y == 9)).astype(np.float32),
        "all": np.ones((2048, 2048), np.float32),
        "not a number": np.full((2048, 2048), np.nan, np.float32),
        "infinite": np.full((2048, 2048), np.inf, np.float32),
    }


@pytest.mark.parametrize("name", worst_maps())
def test_time_and_number_are_bounded_whatever_the_map_shows(name: str) -> None:
    found = worst_maps()[name]
    started = time.process_time()
    boxes = load_kernel().find_boxes(found, 500)
    assert time.process_time() - started < 5
    assert len(boxes) <= 500
    assert np.isfinite(boxes[:, :8]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2**14, 3), (3, 2**14)])
def test_a_map_without_text_has_no_boxes(shape: tuple[int, int]) -> None:
    assert len(load_kernel().find_boxes(np.full(shape, 0.3, np.float32), 5)) == 0


def test_a_map_that_is_too_large_is_refused() -> None:
    for shape in [(1, 2**14 + 1), (2**14 + 1, 1), (2048, 2049)]:
        with pytest.raises(MemoryError):
            load_kernel().find_boxes(np.zeros(shape, np.float32), 5)
