"""The networks of the zoo of trainings: small, one for each kind of output."""

from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign


class Backbone(nn.Sequential):
    """Features (B, 8, H / 2, W / 2)."""

    out_channels = 8

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU()
        )


class Classifier(nn.Module):
    """A backbone, pooled, with a head of some width."""

    def __init__(self, channels: int, width: int, end: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.pool, self.head = Backbone(channels), nn.AdaptiveAvgPool2d(1), nn.Linear(8, width)
        self.end = nn.Identity() if end is None else end

    def forward(self, images: Tensor) -> Any:
        return self.end(self.head(self.pool(self.backbone(images)).flatten(1)))


class Squeezed(Classifier):
    """One logit without a dimension for it."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).squeeze(1)


class Segmenter(nn.Module):
    """A backbone and a 1×1 convolution, resized to the picture."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.backbone, self.head = Backbone(channels), nn.Conv2d(8, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.interpolate(self.head(self.backbone(images)), size=images.shape[-2:], mode="bilinear")


class Detector(FasterRCNN):
    """Torchvision's Faster R-CNN on a small backbone, with few regions."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            Backbone(channels),
            min_size=16,
            max_size=20,
            image_mean=[0.0] * channels,
            image_std=[1.0] * channels,
            rpn_anchor_generator=AnchorGenerator(((4, 8),), ((1.0,),)),
            rpn_pre_nms_top_n_train=16,
            rpn_pre_nms_top_n_test=16,
            rpn_post_nms_top_n_train=4,
            rpn_post_nms_top_n_test=4,
            box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
            box_head=TwoMLPHead(8 * 9, 16),
            box_predictor=FastRCNNPredictor(16, 3),
        )
