"""Evidence that Pathfinder's generated images pose the original's problem: a small CNN learns them and knows real ones.

`python -m bench.pathfinder_cnn [--beside RELEASE] [--minutes 30]` trains a residual CNN on one thread with generated
images of 32 x 32: first without distractors, then from the easiest difficulty to the hardest, each as soon as the one
before is learned; turned and mirrored, as the class stays the same. Each difficulty ends with the score on generated
images of it that the CNN has not seen; the hardest, on which it trains longest, also with that on all images of a
release, of which it has seen none. A CNN of the hardest fails on the easier ones, whose paths are shorter.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena_tasks.pathfinder.draw import render
from attention_arena_tasks.pathfinder.generate import NOWHERE, Range, grow_images
from attention_arena_tasks.pathfinder.recipe import CONTOUR_LENGTH, recipe_of
from attention_arena_tasks.pathfinder.release import find, load_pixels

Images = npt.NDArray[np.uint8]

SIZE = 32
HARDEST = "curv_contour_length_14"
STAGES = (("curv_baseline", False), *((difficulty, True) for difficulty in CONTOUR_LENGTH))
RATE = 1e-3
LEARNED = 0.8
"""Running accuracy at which the next difficulty begins."""


class Block(nn.Module):
    """Two convolutions beside the identity; channels and size stay."""

    def __init__(self, n_channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_channels, n_channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(n_channels, n_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n_channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, S, S) for `x` (B, C, S, S)."""
        hidden = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(x + self.norms[1](self.second(hidden)))


def build(width: int = 32) -> nn.Module:
    """Return the CNN: images (B, 1, 32, 32) to logits (B, 2)."""
    return nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2, stride=2, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        *(Block(width, dilation) for dilation in (1, 1, 2, 1, 2)),
        nn.Conv2d(width, 2 * width, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        *(Block(2 * width) for _ in range(3)),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2 * width, 2),
    )  # fmt: skip


def as_tensor(images: Images) -> Tensor:
    """Return images (N, S, S) as numbers about 0 (N, 1, S, S)."""
    return torch.from_numpy(images).float().div_(64).sub_(0.4)[:, None]


def generated(difficulty: str, part: int, n: int, distractors: bool = True) -> tuple[Images, Images]:
    """Return n generated images (n, S, S) and their classes (n,)."""
    recipe = recipe_of(SIZE, difficulty)
    parts = []
    for start in range(0, n, 500):
        geometry = grow_images(recipe, Range(0, part, start, min(500, n - start)))
        if not distractors:
            geometry.paddles[:, 2:] = NOWHERE
        parts.append((render(recipe, geometry), geometry.labels))
    images, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    return images, labels


def turned(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images, all turned and mirrored in one of the eight ways."""
    way = int(torch.randint(8, (), generator=generator))
    images = images.flip(-1) if way & 4 else images
    return torch.rot90(images, way & 3, (-2, -1))


def accuracy(model: nn.Module, images: Images, labels: Images) -> tuple[float, float]:
    """Return the accuracy in percent and its standard error."""
    model.eval()
    with torch.no_grad():
        guesses = torch.cat(
            [model(as_tensor(part)).argmax(1) for part in np.array_split(images, len(images) // 500 + 1)]
        )
    model.train()
    share = float((guesses.numpy() == labels).mean())
    return 100 * share, 100 * (share * (1 - share) / len(labels)) ** 0.5


def train(model: nn.Module, seconds: float, n_images: int) -> None:
    """Train on one difficulty after the other until the time is over, and print the scores on unseen images."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    start, step = time.monotonic(), 0
    for difficulty, distractors in STAGES:
        n_drawn = n_images if difficulty == HARDEST else n_images // 3
        images, labels = generated(difficulty, 0, n_drawn, distractors)
        running = 0.5
        while (spent := time.monotonic() - start) < seconds and (running < LEARNED or difficulty == HARDEST):
            rows = torch.randint(n_drawn, (64,), generator=generator)
            batch = turned(as_tensor(images[rows.numpy()]), generator).to(memory_format=torch.channels_last)
            targets = torch.from_numpy(labels[rows.numpy()]).long()
            logits = model(batch)
            optimiser.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 200, 2 * (1 - spent / seconds) + 0.01)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(functional.cross_entropy(logits, targets))
            optimiser.step()
            running += 0.01 * (float((logits.argmax(1) == targets).float().mean()) - running)
            step += 1
            if step % 200 == 0:
                stage = difficulty if distractors else "no distractors"
                print(f"{spent:6.0f} s  step {step:6}  {stage:24} running accuracy {100 * running:.1f} %", flush=True)
        if distractors:
            report(f"generated, {difficulty}", model, *generated(difficulty, 2, 4000))


def main() -> None:
    """Train and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", type=Path, help="a release with images of 32 x 32, to be scored on")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--images", type=int, default=90_000, help="to train on, of the hardest; else a third")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(model, 60 * arguments.minutes, arguments.images)
    if arguments.beside is not None:
        found = find(arguments.beside, SIZE, HARDEST)
        images: dict[str, Images] = {}
        load_pixels(found, images.__setitem__)
        labels = np.array([found.labels[name] for name in images], dtype=np.uint8)
        report(arguments.beside.name, model, np.stack(list(images.values())), labels)


def report(name: str, model: nn.Module, images: Images, labels: Images) -> None:
    """Print the accuracy and its standard error."""
    share, error = accuracy(model, images, labels)
    print(f"{name}: {share:.1f} +- {error:.1f} % of {len(labels):,}", flush=True)


if __name__ == "__main__":
    main()
