"""Batches as other people's packages make them, with every callback: the run goes on, and each cause is named once."""

import pytest
import pytorch_lightning as pl
import torch
from lightly.data import LightlyDataset
from lightly.transforms import SimCLRTransform
from monai.data import MetaTensor
from torch import nn
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.datasets import FakeData
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign
from torchvision.transforms import v2

from ..support import (
    CLASSES,
    SUITE,
    Events,
    Lit,
    Scaling,
    dataset,
    loader,
    quick_suite,
    scale_bytes,
    trainer,
)


def fit(folder, module, data, **common):
    """An epoch with every callback: the first parts of the tags drawn, and the callbacks."""
    suite = quick_suite(log_at_start=False, **common)
    run = trainer(folder, suite, max_epochs=1)
    run.fit(module, data, data)
    assert run.global_step == len(data)
    return {tag.split("/")[0] for tag in Events(folder / "run/version_0").image_tags}, suite


class Views(Lit):
    """Runs both views, as self-supervised training does."""

    def training_step(self, batch, batch_idx):
        (one, two), labels, _names = batch
        return nn.functional.cross_entropy(self(one), labels) + self(two).square().mean()

    def validation_step(self, batch, batch_idx):
        self.training_step(batch, batch_idx)


def test_lightlys_views(tmp_path, our_warnings):
    pictures = FakeData(8, (3, 16, 16), CLASSES)
    views = LightlyDataset.from_torch_dataset(pictures, transform=SimCLRTransform(input_size=16))
    drawn, suite = fit(tmp_path, Views(), DataLoader(views, 4))
    assert drawn == SUITE
    assert "the first of 2 images of each sample" in suite[-1].runner.probes["validation"].note
    assert our_warnings() == []


@pytest.mark.parametrize("kind", [MetaTensor, tv_tensors.Image])
def test_subclasses_of_tensors(kind, tmp_path, our_warnings):
    def collate(samples):
        images, labels = torch.utils.data.default_collate(samples)
        return kind(images), labels

    drawn, _ = fit(tmp_path, Lit(), loader(collate_fn=collate))
    assert drawn == SUITE
    assert our_warnings() == []


# Bytes.


@pytest.mark.parametrize(
    ("scale", "without"),
    [
        (v2.ToDtype(torch.float32, scale=True), set()),
        (v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.2] * 3)]), set()),
        (lambda images: images / 255, set()),
        (scale_bytes, {"saliency", "patches", "synthesis", "deepdream"}),
    ],
    ids=["ToDtype", "ToDtype and Normalize", "division", "bytes alone"],
)
def test_bytes_that_the_network_scales(scale, without, tmp_path, our_warnings):
    images, labels = dataset().tensors
    data = loader(torch.utils.data.TensorDataset((images * 255).byte(), labels))
    drawn, _ = fit(tmp_path, Lit(Scaling(scale)), data)
    assert drawn == SUITE - without
    warnings = our_warnings()
    assert len(warnings) == bool(without)
    assert all("takes uint8 images" in one for one in warnings)


# Detection.


class Detector(pl.LightningModule):
    def __init__(self):
        super().__init__()
        backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        backbone.out_channels = 8
        self.model = FasterRCNN(
            backbone,
            min_size=32,
            max_size=32,
            rpn_anchor_generator=AnchorGenerator(((16,),), ((1.0,),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
            box_head=nn.Sequential(nn.Flatten(), nn.Linear(72, 8), nn.ReLU()),
            box_predictor=FastRCNNPredictor(8, 3),
            rpn_post_nms_top_n_train=8,
            rpn_post_nms_top_n_test=8,
        )

    def forward(self, images):
        return self.model(images)

    def training_step(self, batch, batch_idx):
        return sum(self.model(*batch).values())

    def validation_step(self, batch, batch_idx):
        self.model(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def detection(height_of):
    def sample(index):
        boxes = {"boxes": torch.tensor([[4.0, 4.0, 24.0, 24.0]]), "labels": torch.tensor([1])}
        return torch.rand(3, height_of(index), 32), boxes

    return DataLoader(
        [sample(index) for index in range(4)], 2, collate_fn=lambda batch: tuple(zip(*batch, strict=True))
    )


def scores(output):
    return torch.stack([one["scores"].sum() for one in output])


def test_torchvisions_detection_with_images_of_one_size(tmp_path, our_warnings):
    drawn, _ = fit(tmp_path, Detector(), detection(lambda index: 32), target=scores)
    assert {"filters", "activations", "saliency", "gradcam", "deepdream", "patches"} <= drawn
    warnings = our_warnings()
    assert len(warnings) == len(set(warnings)) <= 3  # of synthesis for classes, and of the embedding of boxes


def test_torchvisions_detection_with_images_of_several_sizes(tmp_path, our_warnings):
    drawn, _ = fit(tmp_path, Detector(), detection(lambda index: 32 + index))
    assert drawn == {"filters"}
    (warning,) = our_warnings()
    assert "images of several sizes" in warning
