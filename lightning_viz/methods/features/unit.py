"""A single unit of a network as a model, for every method that explains a score."""

from torch import Tensor, nn

from lightning_viz.methods.model.feature_maps import FeatureMaps


class Unit(nn.Module):
    """The activation of one channel of a layer, for the methods to explain as if it were the model's score.

    With `position`, (row, column) in the layer's feature maps, the scores are the activations there, (B,):

        guided_backprop(Unit(model, "layer3", 12, position=(4, 5)), images)

    Without, they are the activations at all positions, (B, h·w), row by row, of which `target` chooses one as it chooses a
    class: `row * w + column`, one or one per image; by default each image's position of maximal activation, which stays the
    same while `smoothgrad`, `integrated_gradients` and `occlusion` change the image.

    The model runs up to the layer only, see `FeatureMaps`; tokens are folded to the images' grid, vectors have one position.
    Raises ValueError for an unknown layer, and when called where `channel` or `position` is outside the layer's output.
    """

    def __init__(self, model: nn.Module, layer: str, channel: int, position: tuple[int, int] | None = None) -> None:
        super().__init__()
        if position is not None and (isinstance(position, Tensor) or len(position) != 2):
            raise ValueError(
                f"position={position!r} is invalid; give one (row, column), or, for one per image, target=row * w + column"
            )
        self.maps, self.channel, self.position = FeatureMaps(model, layer), channel, position

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.maps(images)
        check_channel(self.channel, maps, self.maps.layer)
        if self.position is None:
            return maps[:, self.channel].flatten(1)
        check_position(self.position, maps, self.maps.layer)
        return maps[:, self.channel, *self.position]


def check_channel(channel: int, maps: Tensor, layer: str) -> None:
    """Raises ValueError for a channel that the layer's feature maps (B, C, h, w) do not have."""
    channels = maps.shape[1]
    if not 0 <= channel < channels:
        raise ValueError(
            f"channel={channel} is outside the {channels} channels of layer={layer!r}; give one of 0 to {channels - 1}"
        )


def check_position(position: tuple[int, int], maps: Tensor, layer: str) -> None:
    """Raises ValueError for a position (row, column) that the layer's feature maps (B, C, h, w) do not have."""
    (row, column), (height, width) = position, maps.shape[2:]
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(
            f"position={position} is outside the map of layer={layer!r}, {height}×{width} positions; "
            f"give a row of 0 to {height - 1} and a column of 0 to {width - 1}"
        )
