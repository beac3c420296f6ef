import pytest
import torch

from lightning_viz.data.batch import known_labels, labels_in, unpack_batch
from lightning_viz.methods.model.model_output import KnownLabels, LabelKind

IMAGES, LABELS = torch.rand(2, 3, 4, 4), torch.tensor([1, 0])


@pytest.mark.parametrize(
    "batch",
    [
        (IMAGES, LABELS),
        [IMAGES, LABELS, "paths"],
        {"image": IMAGES, "label": LABELS},
        {"pixel_values": IMAGES, "labels": LABELS},
        {"x": IMAGES, "y": LABELS, "weight": 1},
    ],
)
def test_images_and_labels_are_found(batch):
    images, labels = unpack_batch(batch)
    assert images is IMAGES
    assert labels is LABELS


@pytest.mark.parametrize("batch", [IMAGES, (IMAGES,), {"images": IMAGES}])
def test_there_may_be_no_labels(batch):
    assert unpack_batch(batch)[1] is None


def test_bytes_become_floats():
    """Of a model that normalises by itself; a gradient needs floats."""
    images, _ = unpack_batch((torch.full((2, 3, 4, 4), 200, dtype=torch.uint8), LABELS))
    assert images.dtype == torch.float32
    assert images.max() == 200


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([-1, -100]), torch.rand(2), torch.zeros(2, 4, 4, dtype=torch.long), torch.rand(2, 5), "no"],
)
def test_what_is_no_class_index_is_no_label(labels):
    assert unpack_batch((IMAGES, labels))[1] is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (torch.tensor([[1.0], [0.0]]), [1, 0]),
        (torch.tensor([1.0, 0.0]), [1, 0]),
        (torch.tensor([True, False]), [1, 0]),
        (torch.tensor([[3], [2]]), [3, 2]),
        (torch.tensor([[1.0, 0, 1], [0, 0, 0]]), [[1, 0, 1], [0, 0, 0]]),
    ],
)
def test_zeros_and_ones_are_classes_or_several_labels(labels, expected):
    assert unpack_batch((IMAGES, labels))[1].tolist() == expected


@pytest.mark.parametrize(
    ("labels", "kind", "largest"),
    [
        (LABELS, LabelKind.INDICES, 1),
        (torch.tensor([[1.0], [0.0]]), LabelKind.INDICES, 1),
        (torch.eye(3)[:2], LabelKind.ONE_HOT, -1),
        (torch.tensor([[1, 1], [0, 1]]), LabelKind.MULTI_HOT, -1),
        (torch.zeros(2, 4, 4, dtype=torch.long), LabelKind.MASKS, -1),
        (torch.zeros(2, 1, 4, 4), LabelKind.MASKS, -1),
        (torch.rand(2, 3, 4, 4), LabelKind.OTHER, -1),
        (torch.rand(2), LabelKind.OTHER, -1),
        ([{"boxes": LABELS}], LabelKind.OTHER, -1),
        (None, LabelKind.NONE, -1),
    ],
)
def test_what_labels_tell(labels, kind, largest):
    assert known_labels(labels_in({"image": IMAGES, "mask": labels}), IMAGES) == KnownLabels(kind, largest)


@pytest.mark.parametrize("negative", [-1, -100])
def test_one_negative_label_unlabels_its_own_sample_only(negative):
    labels = torch.tensor([3, negative, 0])
    assert unpack_batch((torch.rand(3, 3, 4, 4), labels))[1].tolist() == [3, -1, 0]
    assert labels.tolist() == [3, negative, 0]  # the user's own stay


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.rand(2, 10), r"\(2, 10\).*unpack="),
        ((torch.zeros(2, 3, 4, 4, dtype=torch.long), LABELS), "int64"),
        ({"tokens": IMAGES}, r"keys \['tokens'\].*unpack="),
        ("text", "str"),
        ([], "list"),
    ],
)
def test_no_images_is_said_with_a_remedy(batch, message):
    with pytest.raises(ValueError, match=message):
        unpack_batch(batch)
