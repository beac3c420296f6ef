"""The network inside a module, and arguments that do not fit it: these fail before the first step."""

import re

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_viz import FilterLogger, GradCAMLogger, Probe, SaliencyLogger
from lightning_viz.runtime.network import NetworkError, check_probe, find_network

from ..stub import Stub, data, fit, tiny, tiny_network
from ..support import CLASSES, SUITE, Lit, dataset, loader, quick_suite, small_network, trainer


class Headless(pl.LightningModule):
    """No forward: the network is called in the steps."""

    def __init__(self):
        super().__init__()
        self.model = tiny_network()
        self.accuracy = nn.Identity()

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_module_with_a_forward_is_the_network():
    module = tiny()
    assert find_network(module, None) is module


def test_a_module_without_forward_is_called_through_its_network(tmp_path):
    stub, module = Stub(on_error="raise"), Headless()
    fit(tmp_path, stub, module=module)
    assert stub.ctx.network is module.model


def test_a_module_with_two_networks_asks_for_forward(tmp_path):
    module = Headless()
    module.teacher = tiny_network()
    with pytest.raises(ValueError, match=r"no forward\(\) and 2 submodules with weights \(model, teacher\).*forward="):
        find_network(module, None)
    stub = Stub(forward=lambda module, images: module.teacher(images), on_error="raise")
    assert fit(tmp_path, stub, module=module).image_tags


def test_a_custom_forward_keeps_layer_names(tmp_path):
    module, images = tiny(), torch.rand(2, 3, 12, 12)
    network = find_network(module, lambda module, images: {"scores": module(images)})
    assert dict(network.named_children()) == dict(module.named_children())
    assert network(images)["scores"].shape == (2, CLASSES)
    forward = lambda module, images: {"scores": module(images)}["scores"]  # noqa: E731
    events = fit(tmp_path, GradCAMLogger("network.1", forward=forward, on_error="raise"), module=module)
    assert "gradcam/network.1" in events.image_tags


def test_a_probe_fits_the_network():
    check_probe(tiny_network(), Probe(torch.rand(2, 3, 12, 12), torch.tensor([0, 1]), ["a", "b", "c", "d"]))


# Before the first step.


def never_trained(folder, callback, message, module=None, error=ValueError):
    module = module or tiny()
    with pytest.raises(error, match=message):
        fit(folder, callback, module=module)
    assert module.losses == []


@pytest.mark.parametrize("kind", [GradCAMLogger, FilterLogger])
def test_an_unknown_layer(kind, tmp_path):
    message = r"layers='network.99' is not in Lit; closest: 'net"
    never_trained(tmp_path, kind(layers=["network.0", "network.99"]), message)


def test_a_layer_without_filters(tmp_path):
    never_trained(tmp_path, FilterLogger("network.4"), r"layers='network.4' is Linear")


def test_a_layer_without_positions(tmp_path):
    never_trained(tmp_path, GradCAMLogger("network.4"), r"\(1, 4\) has no height and width")


@pytest.mark.parametrize("kind", [Stub, SaliencyLogger, GradCAMLogger])
def test_a_model_of_no_images(kind, tmp_path, our_warnings):
    module = Lit(nn.Sequential(nn.Linear(10, CLASSES)))
    vectors = loader(TensorDataset(torch.rand(8, 10), torch.arange(8) % CLASSES))
    trainer(tmp_path, [kind()], max_epochs=1).fit(module, vectors, vectors)
    assert len(module.losses) == 2
    (warning,) = our_warnings()
    assert re.search(r"\(6, 10\).* images \(B, C, H, W\)", warning)


def test_a_module_without_a_forward_of_its_own_is_warned_of_once(tmp_path, our_warnings):
    """Which of its networks is meant is not known: a GAN, or a student with its teacher."""

    class Two(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.teacher = nn.Linear(3, 2), nn.Linear(3, 2)

        def training_step(self, batch, batch_idx):
            return self.model(batch[0].mean(dim=(2, 3))).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    run = trainer(tmp_path, [Stub(tag="one"), Stub(tag="two"), SaliencyLogger()], max_epochs=1)
    run.fit(Two(), *data())
    assert run.global_step == 4
    (warning,) = [one for one in our_warnings() if "shows training pictures" not in one]  # it has no validation step
    assert "give forward=" in warning


def test_a_probe_of_wrong_shape(tmp_path):
    message = r"Lit does not run on probe images of shape \(1, 12, 12\).*give images of the shape"
    never_trained(tmp_path, Stub(probe=Probe(torch.rand(2, 1, 12, 12))), message)


def test_class_names_fewer_than_the_models_classes(tmp_path):
    probe = Probe(torch.rand(2, 3, 12, 12), torch.tensor([0, 1]), ["ant", "bee"])
    never_trained(tmp_path, Stub(probe=probe), "class_names has 2 names, and the model has 4 classes")


@pytest.mark.parametrize(
    ("target", "message"), [(99, "target=.*outside the model's 4 classes"), ([0, 1, 2], "does not fit 8 images")]
)
def test_a_target_that_does_not_fit(target, message, tmp_path):
    never_trained(tmp_path, Stub(target=target), message)


def test_target_label_where_the_data_have_none_stops_nothing(tmp_path, our_warnings):
    images = DataLoader(TensorDataset(torch.rand(8, 3, 12, 12), torch.rand(8)), batch_size=2)

    class Regression(Lit):
        def training_step(self, batch, batch_idx):
            return self(batch[0]).mean()

        def validation_step(self, batch, batch_idx):
            self(batch[0])

    stubs = [Stub(target="label", tag=tag) for tag in ("one", "two")]
    fit(tmp_path, *stubs, module=Regression(tiny_network()), given=(images, images))
    (warning,) = our_warnings()
    assert "target='label' needs a label for each picture" in warning


def test_target_label_without_labels(tmp_path):
    stub = Stub(target="label", probe=Probe(torch.rand(2, 3, 12, 12)))
    never_trained(tmp_path, stub, "target='label' needs a label for each picture of the probe")


def test_target_label_explains_the_true_class(tmp_path):
    stub = Stub(target="label")
    fit(tmp_path, stub)
    assert torch.equal(stub.target_of(stub.ctx), stub.ctx.probe.labels)


def test_targets_are_cut_to_the_probe(tmp_path):
    stub = Stub(target=[0, 1, 2, 3, 0, 1, 2, 3, 0, 1], max_images=8)
    fit(tmp_path, stub, given=data())
    assert stub.target_of(stub.ctx) == [0, 1, 2, 3, 0, 1, 2, 3]


# Networks that cannot be called with images alone.


class Odd(pl.LightningModule):
    """Trains its network whatever its own forward asks for."""

    def __init__(self):
        super().__init__()
        self.net = small_network()

    def run(self, images):
        return self.net(images)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.run(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.run(batch[0])

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Gan(Odd):
    def __init__(self):
        super().__init__()
        self.net = nn.Identity()
        self.generator = nn.Sequential(nn.Linear(7, 432), nn.Unflatten(1, (3, 12, 12)))
        self.discriminator = small_network()

    def forward(self, z):
        return self.generator(z)

    def run(self, images):
        return self.discriminator(images)


class Flattened(Odd):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)  # that the filters are of
        self.net = nn.Sequential(nn.Linear(432, 8), nn.ReLU(), nn.Linear(8, CLASSES))

    def forward(self, flat):
        return self.net(flat)

    def run(self, images):
        return self(images.flatten(1))


class WithLabels(Odd):
    def forward(self, x, y):
        return nn.functional.cross_entropy(self.net(x), y)


class Masked(Odd):
    def forward(self, x, mask):
        return self.net(x * mask)


class OfADict(Odd):
    def forward(self, batch):
        return self.net(batch["image"])


class Loss(Odd):
    def forward(self, x):
        return self.net(x).square().mean()


class Decorated(Odd):
    @torch.no_grad()
    def forward(self, images):
        return self.net(images)


class FrozenBackbone(Odd):
    def __init__(self):
        super().__init__()
        self.net, self.head = small_network()[:-2], nn.Linear(8, CLASSES)

    def forward(self, images):
        with torch.no_grad():
            features = self.net(images).flatten(1)
        return self.head(features)

    run = forward


GIVEN = re.compile(r"give forward=(lambda module, images: .*?) \(on_error")


def suite(**options):
    return quick_suite(max_overhead=None, max_images=2, history=0, **options)


def firsts(events):
    return {tag.partition("/")[0] for tag in events.image_tags}


@pytest.mark.parametrize(
    ("kind", "says", "drawn"),
    [
        (Gan, "Gan.forward(z) does not run with images of 3×12×12 alone: RuntimeError: mat1", {"filters"}),
        (Flattened, "Flattened.forward(flat) does not run", {"filters"}),
        (WithLabels, "WithLabels.forward(x, y) does not run", {"filters"}),
        (Masked, "it needs the arguments 'x', 'mask'", {"filters"}),
        (OfADict, "OfADict.forward(batch) does not run", {"filters"}),
        (Loss, "Loss.forward(x) returns a single number", SUITE - {"saliency", "gradcam", "synthesis"}),
        (Decorated, "no gradient of the scores reaches the images", {"filters", "activations", "embedding"}),
        (FrozenBackbone, "torch.no_grad(), as for a frozen backbone", {"filters", "activations", "embedding"}),
    ],
)
def test_one_warning_with_a_remedy_that_works(kind, says, drawn, tmp_path, our_warnings):
    """And all that does not need what is missing goes on."""
    assert firsts(fit(tmp_path / "first", *suite(), module=kind())) == drawn
    (warning,) = our_warnings()
    assert says in warning
    forward = eval(GIVEN.search(warning)[1])
    made = suite(forward=forward)
    if kind is Flattened:  # it has no feature maps
        made = [one for one in made if isinstance(one, SaliencyLogger | FilterLogger)]
    events = fit(tmp_path / "second", *made, module=kind())
    assert our_warnings() == [warning]
    assert firsts(events) == ({"saliency", "filters"} if kind is Flattened else SUITE)


class OfAnyBatch(Odd):
    """As a Hugging Face model is used."""

    def __init__(self):
        super().__init__()
        from transformers import ViTConfig, ViTForImageClassification

        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        self.net = ViTForImageClassification(ViTConfig(image_size=12, patch_size=4, num_labels=CLASSES, **sizes))

    def forward(self, **batch):
        return self.net(**batch)

    def run(self, images):
        return self(pixel_values=images).logits


def test_a_hugging_face_model_is_called_by_keyword(tmp_path, our_warnings):
    sanity = SaliencyLogger(tag="checked", trust=["sanity", "faithfulness"], history=0, on_error="raise")
    events = fit(tmp_path, *suite(on_error="raise"), sanity, module=OfAnyBatch())
    assert firsts(events) == SUITE | {"checked"}
    assert our_warnings() == []
    assert events.scalars("checked/gradient/trust/sanity")[0] < 1  # the copy with random weights is another network


def test_by_keyword_the_network_keeps_names_and_scores(tmp_path):
    stub, module = Stub(on_error="raise", probe=Probe(dataset().tensors[0][:2])), OfAnyBatch()
    fit(tmp_path, stub, module=module)
    network, images = stub.ctx.network.eval(), stub.ctx.probe.images
    assert dict(network.named_children()) == dict(module.named_children())
    assert type(network).__name__ == "OfAnyBatch"
    assert torch.equal(network(images).logits, module.eval()(pixel_values=images).logits)


def test_the_network_is_tried_once_for_all_callbacks(tmp_path):
    module, sizes = tiny(), []
    module.network.register_forward_hook(
        lambda _m, inputs, _o: sizes.append(len(inputs[0])) if not module.training else None
    )
    stubs = [Stub(tag=tag, on_error="raise", log_at_start=False) for tag in ("one", "two", "three")]
    fit(tmp_path, *stubs, module=module, num_sanity_val_steps=0, max_epochs=3, limit_val_batches=0)
    assert sizes.count(1) == 1


def test_a_forward_that_fails_is_the_users(tmp_path, our_warnings):
    module = tiny()
    fit(tmp_path, *suite(forward=lambda module, images: module.no_such_part(images)), module=module)
    (warning,) = our_warnings()
    assert "forward= does not run with images of 3×12×12: AttributeError" in warning
    assert "it is called with (module, images)" in warning


def test_a_probe_for_a_network_that_takes_no_images_stops_no_run(tmp_path, our_warnings):
    probe = Probe(dataset().tensors[0][:2])
    assert firsts(fit(tmp_path, *suite(probe=probe), module=WithLabels())) == {"filters"}
    assert len(our_warnings()) == 1


def test_a_target_for_a_loss_stops_no_run(tmp_path, our_warnings):
    fit(tmp_path, SaliencyLogger(target=1), GradCAMLogger(target="label"), module=Loss())
    (warning,) = our_warnings()
    assert "returns a single number" in warning


def test_on_error_raise_raises_cause_and_remedy(tmp_path):
    with pytest.raises(NetworkError, match=r"give forward=lambda module, images: module.net\(images\)"):
        fit(tmp_path, SaliencyLogger(on_error="raise"), module=WithLabels())


def test_a_layer_after_the_frozen_part_has_a_cam(tmp_path, our_warnings):
    class Head(FrozenBackbone):
        def __init__(self):
            super().__init__()
            self.net = small_network()[:3]
            self.head = nn.Sequential(nn.Conv2d(6, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))

        def forward(self, images):
            with torch.no_grad():
                features = self.net(images)
            return self.head(features)

        run = forward

    events = fit(tmp_path, GradCAMLogger("head.0"), SaliencyLogger(), module=Head())
    assert "gradcam/head.0" in events.image_tags
    (warning,) = our_warnings()
    assert "module.head(module.net(images))" in warning


def test_a_layer_that_is_missing_is_no_matter_of_gradients(tmp_path, our_warnings):
    module = Decorated()
    module.net = nn.Sequential(nn.Flatten(), nn.Linear(432, CLASSES))
    fit(tmp_path, FilterLogger(), module=module)
    (warning,) = our_warnings()
    assert "Decorated has no nn.Conv2d" in warning


class TwoNetworks(Gan):
    """Without a forward of its own, and two networks to choose from."""

    forward = pl.LightningModule.forward


def test_a_module_with_two_networks_stops_no_run(tmp_path, our_warnings):
    assert firsts(fit(tmp_path / "first", *suite(), module=TwoNetworks())) == {"filters"}
    (warning,) = our_warnings()
    assert "2 submodules with weights (generator, discriminator)" in warning
    forward = eval(GIVEN.search(warning)[1])
    assert firsts(fit(tmp_path / "second", *suite(forward=forward), module=TwoNetworks())) == SUITE
    assert our_warnings() == [warning]


def test_an_unknown_layer_of_a_module_with_two_networks(tmp_path):
    with pytest.raises(ValueError, match=r"layers='discriminator.99' is not in TwoNetworks"):
        fit(tmp_path, FilterLogger("discriminator.99"), module=TwoNetworks())
