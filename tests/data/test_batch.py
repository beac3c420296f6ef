from collections import UserDict

import pytest
import torch

from lightning_viz.data.batch import BatchError, read_batch, unpack_batch
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


def test_bytes_stay_bytes():
    """A model may scale these alone."""
    images, _ = unpack_batch((torch.full((2, 3, 4, 4), 200, dtype=torch.uint8), LABELS))
    assert images.dtype == torch.uint8
    assert images.max() == 200


# Batches of other structures.

VIEW = IMAGES.flip(-1)


@pytest.mark.parametrize(
    "batch",
    [
        ([IMAGES, VIEW], LABELS),
        ((IMAGES, VIEW), LABELS, ["a.png", "b.png"]),  # lightly's
        ([IMAGES, torch.rand(2, 3, 2, 2)], LABELS),  # views of several sizes
        (IMAGES, VIEW, LABELS),
        {"image": [IMAGES, VIEW], "label": LABELS},
    ],
)
def test_of_several_views_the_first_is_read(batch):
    found = read_batch(batch)
    assert torch.equal(found.images, IMAGES)
    assert torch.equal(found.labels, LABELS)
    assert found.note == "the first of 2 images of each sample"
    assert not found.is_plain


@pytest.mark.parametrize("batch", [[IMAGES, VIEW], ([IMAGES, VIEW],), (IMAGES, VIEW, None)])
def test_views_may_have_no_labels(batch):
    assert read_batch(batch).labels is None
    assert read_batch(batch).note


@pytest.mark.parametrize(
    "batch",
    [
        (torch.rand(2, 1, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()),
        (IMAGES, torch.zeros(2, 1, 4, 4)),
        (IMAGES, torch.zeros(2, 4, 4, dtype=torch.long)),
        [IMAGES],
    ],
)
def test_a_mask_is_no_view(batch):
    found = read_batch(batch)
    assert found.images is batch[0]
    assert found.labels is None
    assert found.is_plain


def test_crops_are_images_with_the_label_of_their_sample():
    crops = torch.rand(2, 5, 3, 4, 4)
    found = read_batch((crops, LABELS))
    assert torch.equal(found.images, crops.flatten(0, 1))
    assert found.labels.tolist() == [1] * 5 + [0] * 5
    assert found.note == "all 5 images of each sample"
    first = found.first_of_each
    assert torch.equal(first.images, crops[:, 0])
    assert torch.equal(first.labels, LABELS)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_images_of_one_size_is_a_batch(kind):
    for batch in ((kind(IMAGES), kind([{"labels": LABELS}])), kind(IMAGES), {"images": kind(IMAGES)}):
        found = read_batch(batch)
        assert torch.equal(found.images, IMAGES)
        assert found.labels is None
        assert found.is_plain


@pytest.mark.parametrize(
    "batch",
    [
        {"image": {"pixel_values": IMAGES}, "labels": LABELS},
        {"inputs": {"pixel_values": IMAGES, "labels": LABELS}},
        ({"pixel_values": IMAGES}, LABELS),
        UserDict(pixel_values=IMAGES, labels=LABELS),  # as Hugging Face's
    ],
)
def test_dicts_may_be_nested(batch):
    found = read_batch(batch)
    assert found.images is IMAGES
    assert found.labels is LABELS
    assert found.is_plain


@pytest.mark.parametrize(
    "batch",
    [
        [(IMAGES, LABELS), (VIEW, LABELS)],
        [(IMAGES, LABELS), ["some", "text"]],
        {"one": (IMAGES, LABELS), "other": {"text": ["a", "b"]}},
        [{"image": IMAGES, "label": LABELS}, {"text": ["a", "b"]}],
    ],
)
def test_of_batches_that_the_loop_combines_the_first_is_read(batch):
    found = read_batch(batch)
    assert found.images is IMAGES
    assert found.labels is LABELS
    assert "that the loop combines" in found.note
    assert not found.is_plain


class Special(torch.Tensor):
    pass


@pytest.mark.parametrize(
    "unpack", [unpack_batch, lambda batch: (batch["image"], batch["label"])], ids=["default", "custom"]
)
def test_subclasses_of_tensors_become_plain(unpack):
    batch = {"image": IMAGES.as_subclass(Special), "label": LABELS.as_subclass(Special)}
    found = read_batch(batch, unpack)
    assert type(found.images) is type(found.labels) is torch.Tensor
    assert found.images.data_ptr() == IMAGES.data_ptr()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (IMAGES, "unpack= returned Tensor; it must return"),
        ((IMAGES, LABELS, 3), r"unpack= returned tuple"),
        ((torch.rand(2, 10), None), r"unpack= returned \(2, 10\)"),
        ((None, None), "unpack= returned NoneType"),
    ],
)
def test_what_a_custom_unpack_returns_is_checked(returned, message):
    with pytest.raises(BatchError, match=message):
        read_batch("anything", lambda batch: returned)


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
        (torch.eye(4).expand(2, 4, 4, 4).transpose(1, 2), LabelKind.MASKS, -1),
        (torch.ones(2, 3, 4, 4), LabelKind.OVERLAPPING_MASKS, -1),
        (torch.rand(2, 3, 4, 4), LabelKind.OTHER, -1),
        (torch.tensor([23.0, 31.0]), LabelKind.OTHER, -1),
        ([{"boxes": LABELS}], LabelKind.OTHER, -1),
        (None, LabelKind.NONE, -1),
        (torch.tensor([[1, -1, 0], [0, 0, -1]]), LabelKind.MULTI_HOT, -1),  # some are unknown
        (torch.tensor([[1.0, torch.nan], [0.0, 1.0]]), LabelKind.MULTI_HOT, -1),
        (torch.rand(2, 5).softmax(dim=1), LabelKind.OTHER, -1),  # mixed classes
        (torch.tensor([[2, 5], [3, 1]]), LabelKind.OTHER, -1),
    ],
)
def test_what_labels_tell(labels, kind, largest):
    assert read_batch({"image": IMAGES, "mask": labels}).known == KnownLabels(kind, largest)


@pytest.mark.parametrize(("shape", "width"), [((2,), 1), ((2, 1), 1), ((2, 5), 5), ((2, 5, 2), 10)])
def test_labels_of_numbers_tell_how_many(shape, width):
    assert read_batch((IMAGES, torch.rand(shape))).known == KnownLabels(LabelKind.NUMBERS, width=width)


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
        (None, "NoneType"),
        ((["a", "b"], LABELS), "str"),
        ({}, "keys"),
        (torch.rand(0, 3, 4, 4), "empty"),
        (torch.zeros(2, 3, 4, 4) > 0, "bool"),
        (torch.rand(2, 1, 8, 16, 16), r"\(2, 1, 8, 16, 16\).*volumes or videos.*unpack="),
        (torch.rand(2, 3, 4, 16, 16), r"volumes or videos"),  # four frames, and no three images of four channels
        (torch.rand(2, 16, 16, 3), r"channels are last.*permute\(0, 3, 1, 2\).*forward="),
        (([torch.rand(3, 4, 4), torch.rand(3, 5, 4)], [{}, {}]), r"several sizes \(3×4×4, 3×5×4\).*unpack="),
        (object(), "object"),
    ],
)
def test_no_images_is_said_with_a_remedy(batch, message):
    with pytest.raises(ValueError, match=message):
        unpack_batch(batch)
