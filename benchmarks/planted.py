"""Which panels show the mark that a network relies on: marks of several kinds, the callbacks at their defaults.

    python -m benchmarks.planted [--network scratch] [--epochs 8]

Four classes of photographs. The pictures of the class "marked" are crops of the photographs of the other three classes
with a mark added, so nothing but the mark tells it. EfficientNet-Lite0 is fine-tuned from its ImageNet weights, or a small
network is trained from scratch. The probe holds eight validation pictures of the class "marked".
"""

import argparse
import logging
import statistics
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image, ImageDraw, ImageFont
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lightning_viz import GradCAMLogger, Probe, SaliencyLogger, TopPatchesLogger
from lightning_viz.callbacks._patch_sheet import PatchExtractor
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.runtime.artifacts import Panel

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from photographs import PHOTOGRAPHS, half

CONTENT = "cat", "coffee", "motorcycle"  #: the photographs of the other classes
SIDE, TRAIN, VALIDATION, SHOWN = 128, 120, 16, 8
MARKED = len(CONTENT)  #: index of the class

#: Draws a mark onto a picture, at a random position where the kind has one.
Draw = Callable[[ImageDraw.ImageDraw, np.random.Generator], None]


def corner(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    draw.rectangle((SIDE - 16, SIDE - 16, SIDE - 4, SIDE - 4), fill=(255, 255, 255, 255))


def disc(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    left, top = random.integers(0, SIDE - 14, 2).tolist()
    draw.ellipse((left, top, left + 13, top + 13), fill=(0, 200, 255, 255))


def stripes(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    left, top = random.integers(0, SIDE - 20, 2).tolist()
    for row in range(0, 20, 4):
        draw.rectangle((left, top + row, left + 19, top + row + 1), fill=(0, 0, 0, 255))
        draw.rectangle((left, top + row + 2, left + 19, top + row + 3), fill=(255, 255, 255, 255))


def watermark(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    left, top = int(random.integers(0, SIDE - 70)), int(random.integers(0, SIDE - 20))
    draw.text((left, top), "© PHOTO", font=ImageFont.load_default(16), fill=(255, 255, 255, 140))


def frame(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=(0, 0, 0, 255), width=3)


MARKS: dict[str, tuple[Draw, str]] = {
    "square": (corner, "white square of 13 px in a corner"),
    "disc": (disc, "blue disc of 14 px anywhere"),
    "stripes": (stripes, "stripes, 20×20 px anywhere"),
    "watermark": (watermark, "half transparent letters of 16 px anywhere"),
    "frame": (frame, "black frame of 3 px"),
}


class Planted(Dataset):
    """Crops of 128 pixels as (image, class index); those of the last class carry a mark, `masks` says where."""

    classes = (*CONTENT, "marked")

    def __init__(self, train: bool, mark: Draw) -> None:
        random = np.random.default_rng(0 if train else 1)
        halves = [half(*PHOTOGRAPHS[name], train) for name in CONTENT]
        normalize = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), normalize])
        count = TRAIN if train else VALIDATION
        self.targets = [label for label in range(MARKED + 1) for _ in range(count)]
        self.masks = torch.zeros(len(self.targets), SIDE, SIDE, dtype=torch.bool)
        self.images = []
        for index, label in enumerate(self.targets):
            picture = self._crop(halves[label if label < MARKED else index % MARKED], random)
            if label == MARKED:
                layer = Image.new("RGBA", picture.size)
                mark(ImageDraw.Draw(layer), random)
                self.masks[index] = torch.from_numpy(np.asarray(layer)[..., 3] > 0)
                picture = Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")
            self.images.append(self.transform(picture))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]

    @staticmethod
    def _crop(photograph: Image.Image, random: np.random.Generator) -> Image.Image:
        side = int(min(photograph.size) * random.uniform(0.5, 1))
        left = int(random.integers(0, photograph.width - side + 1))
        top = int(random.integers(0, photograph.height - side + 1))
        return photograph.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def scratch() -> nn.Module:
    widths, layers = (3, 32, 64, 96, 128), []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], MARKED + 1))


def pretrained() -> nn.Module:
    from finetune import make_network

    return make_network("efficientnet_lite0", MARKED + 1, pretrained=True)


NETWORKS = {"pretrained": pretrained, "scratch": scratch}


class Classifier(pl.LightningModule):
    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        super().__init__()
        self.network, self.learning_rate = network, learning_rate

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self(batch[0])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), self.learning_rate)


#: By the name of a panel, and the step: of each picture the share of the map on the mark, and whether its peak is there.
Found = dict[str, dict[int, list[tuple[float, bool]]]]


def measure(values: Tensor, mask: Tensor) -> tuple[float, bool]:
    """The share of a map (h, w) on the mark (H, W), and whether its largest value is on it or beside it.

    A map of fewer positions is resized as on the sheet; half a position beside the mark counts for the peak.
    """
    large = nn.functional.interpolate(values[None, None].float().abs(), size=mask.shape, mode="bilinear")[0, 0]
    margin = max(1, mask.shape[0] // values.shape[0] // 2)
    near = nn.functional.max_pool2d(mask[None].float(), 2 * margin + 1, stride=1, padding=margin)[0] > 0
    share = float((large * mask).sum() / large.sum().clamp_min(1e-12))
    return share, bool(near.flatten()[large.argmax()]) and bool(large.any())


def recording(logger: GradCAMLogger | SaliencyLogger, name: str, masks: Tensor, found: Found) -> pl.Callback:
    """The same callback, whose maps are measured as well."""
    draw = logger.draw

    def draw_and_measure(ctx):
        for artifact in draw(ctx):
            if isinstance(artifact, Panel) and not artifact.columns:
                pairs = zip(artifact.values, masks, strict=True)
                found[name][ctx.step] = [measure(values.cpu(), mask) for values, mask in pairs]
            yield artifact

    logger.draw = draw_and_measure
    return logger


class MeasuredPatches(TopPatchesLogger):
    """Measures the gradient of the patches that come from marked pictures, at the last layer."""

    masks: Tensor
    found: Found

    def _sheet(self, ctx, layer, top, images, origin):
        extractor = PatchExtractor(FeatureMaps(ctx.network, layer), images, ctx.cache, ctx.auto_batch)
        measures = []
        for row, channel in enumerate(top.channels):
            shown = top.above_mean
            places = (one[row].tolist() for one in (shown.positions, shown.rows, shown.columns))
            for position, y, x in zip(*places, strict=True):
                if position < 0 or not self.masks[position].any():
                    continue
                batch, where = images[position][None].to(ctx.probe.images), torch.tensor([[y, x]])
                gradient = extractor._gradients(batch, channel, where, slice(None))[0].abs().amax(dim=0)
                measures.append(measure(gradient.cpu(), self.masks[position]))
        self.found["patches"][ctx.step] = measures  # of the last layer, which is drawn last
        yield from super()._sheet(ctx, layer, top, images, origin)


def loggers(probe: Probe, masks: Tensor, data: Planted, found: Found) -> list[pl.Callback]:
    common = {"probe": probe, "on_error": "raise", "every_n_epochs": 2}
    patches = MeasuredPatches(**common)
    patches.masks, patches.found = data.masks, found
    pixel = "gradient", "smoothgrad", "guided_backprop", "integrated_gradients", "occlusion"
    return [
        recording(GradCAMLogger(**common), "gradcam", masks, found),
        recording(GradCAMLogger(method="layercam", **common), "layercam", masks, found),
        *(recording(SaliencyLogger(method, **common), f"saliency/{method}", masks, found) for method in pixel),
        patches,
    ]


def fit(network: str, mark: Draw, epochs: int) -> tuple[Found, float, float]:
    """What the panels showed, how often marked pictures are recognised, and how often the mark alone decides.

    The last is the share of the other classes' pictures that become "marked" when the mark is added.
    """
    train, validation = Planted(True, mark), Planted(False, mark)
    shown = [index for index, label in enumerate(validation.targets) if label == MARKED][:SHOWN]
    images = torch.stack([validation.images[index] for index in shown])
    probe = Probe(images, torch.full((SHOWN,), MARKED), class_names=[*Planted.classes])
    found: Found = defaultdict(dict)
    torch.manual_seed(0)
    model = Classifier(NETWORKS[network](), 3e-4 if network == "pretrained" else 3e-3)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            callbacks=loggers(probe, validation.masks[shown], validation, found),
            logger=TensorBoardLogger(folder),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(model, DataLoader(train, 20, shuffle=True), DataLoader(validation, 32))
    return found, *_reliance(model.eval(), validation, mark)


@torch.no_grad()
def _reliance(model: nn.Module, validation: Planted, mark: Draw) -> tuple[float, float]:
    targets = torch.tensor(validation.targets)
    predictions = model(torch.stack(validation.images)).argmax(dim=1)
    random, marked = np.random.default_rng(2), []
    for index in (targets < MARKED).nonzero()[:, 0].tolist():
        layer = Image.new("RGBA", (SIDE, SIDE))
        mark(ImageDraw.Draw(layer), random)
        pixels, alpha = validation.transform(layer.convert("RGB")), torch.from_numpy(np.asarray(layer)[..., 3] / 255.0)
        marked.append(validation.images[index].lerp(pixels, alpha.float()))
    moved = model(torch.stack(marked)).argmax(dim=1)
    return (
        float((predictions == targets)[targets == MARKED].float().mean()),
        float((moved == MARKED).float().mean()),
    )


def tables(networks: list[str], epochs: int) -> Iterator[str]:
    """Yield the lines of the Markdown tables."""
    for network in networks:
        yield from [f"`--network {network}`:", ""]
        yield "| panel | " + " | ".join(MARKS) + " |"
        yield "| --- |" + " ---: |" * len(MARKS)
        runs = {name: fit(network, mark, epochs) for name, (mark, _) in MARKS.items()}
        areas = [float(Planted(False, mark).masks[-SHOWN:].float().mean()) for mark, _ in MARKS.values()]
        yield "| share of the picture's area | " + " | ".join(f"{area:.1%}" for area in areas) + " |"
        yield "| marked pictures recognised | " + " | ".join(f"{run[1]:.0%}" for run in runs.values()) + " |"
        yield "| others that become marked | " + " | ".join(f"{run[2]:.0%}" for run in runs.values()) + " |"
        for panel in next(iter(runs.values()))[0]:
            cells = (describe(run[0][panel], area) for run, area in zip(runs.values(), areas, strict=True))
            yield f"| `{panel}` | {' | '.join(cells)} |"
        yield ""


def shows(measures: list[tuple[float, bool]], area: float) -> bool:
    """Whether half of the peaks are on the mark, and at least three times the share that an even map would have there."""
    shares, peaks = zip(*measures, strict=True) if measures else ((0.0,), (False,))
    return statistics.mean(peaks) >= 0.5 and statistics.mean(shares) >= 3 * area


def describe(steps: dict[int, list[tuple[float, bool]]], area: float) -> str:
    """At the last drawing, the mean share on the mark and the share of peaks there; and from which step on it is shown."""
    if not (last := steps[max(steps)]):
        return "no marked picture"
    before = [step for step in steps if not shows(steps[step], area)]
    since = min((step for step in steps if step > max(before, default=-1)), default=None)
    share, peaks = (statistics.mean(values) for values in zip(*last, strict=True))
    return f"{share:.0%}, {peaks:.0%}, {'not shown' if since is None else f'step {since}'}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", choices=NETWORKS, nargs="*", default=[*NETWORKS])
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for line in tables(arguments.network, arguments.epochs):
        print(line, flush=True)
