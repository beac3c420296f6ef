"""A single unit of a network as a model of its own, for every method that explains a score."""

from torch import Tensor, nn

from lightning_viz.methods.model.feature_maps import FeatureMaps


class Unit(nn.Module):
    """What one channel of a layer answers, for the methods to explain as if it were the model's score.

    With `position`, a row and a column of the layer's feature maps, the scores are the activations there, (B,):

        guided_backprop(Unit(model, "layer3", 12, position=(4, 5)), images)

    Without, they are those at all places, (B, h·w), row by row, and `target` chooses among places as it does among
    classes: by default each image's strongest, the place that makes it a top image of the channel. It stays that place
    while `smoothgrad`, `integrated_gradients` and `occlusion` alter the image. `target=row * w + column`, one or one per
    image, is any other. A layer that returns vectors (B, K) has one place.

    The model runs up to the layer and no further, see `FeatureMaps`; tokens are folded to the images' grid.
    Raises ValueError for an unknown layer, and when called where `channel` or `position` is outside the layer's output.
    """

    def __init__(self, model: nn.Module, layer: str, channel: int, position: tuple[int, int] | None = None) -> None:
        super().__init__()
        if position is not None and (isinstance(position, Tensor) or len(position) != 2):
            raise ValueError(
                f"position={position!r} is not one place; give (row, column), or one place per image without position, "
                "as target=row * w + column"
            )
        self.maps = FeatureMaps(model, layer)
        self.channel = channel
        self.position = position

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.maps(images)
        channels, height, width = maps.shape[1:]
        if not 0 <= self.channel < channels:
            raise ValueError(
                f"channel={self.channel} is outside the {channels} channels of layer={self.maps.layer!r}; "
                f"give one of 0 to {channels - 1}"
            )
        places = maps[:, self.channel]
        if self.position is None:
            return places.flatten(1)
        row, column = self.position
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(
                f"position={self.position} is outside the map of layer={self.maps.layer!r}, {height}×{width} places; "
                f"give a row of 0 to {height - 1} and a column of 0 to {width - 1}"
            )
        return places[:, row, column]
