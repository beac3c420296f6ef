"""The checks of maps that SaliencyLogger and GradCAMLogger share. The numbers themselves are tested with the methods."""

import pytest
import torch
from torch import nn

from lightning_viz import GradCAMLogger, Probe, SaliencyLogger
from lightning_viz.callbacks import grad_cam as module
from lightning_viz.methods import saliency
from lightning_viz.methods.attribution.trust import SANITY_DRAWS, faithfulness_gain
from lightning_viz.methods.model.batching import AutoBatch

from ..support import Events, Lit, loader, small_network, trainer
from .context import count_forwards, draw, make_context, scalars

PROBE = Probe(torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 1]))
CHANGE = ["change_since_last", "change_since_start", "rank_since_start"]


def checks(callback, network, probe=PROBE):
    return {tag.rpartition("/trust/")[2]: value for tag, value in scalars(draw(callback, network, probe)).items()}


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_change_is_none_at_first_and_then_that_of_the_maps(kind):
    network, callback = small_network(), kind(trust=["change"], target=1)
    assert checks(callback, network) == pytest.approx(dict(zip(CHANGE, (0, 0, 1), strict=True)), abs=1e-6)
    torch.manual_seed(5)
    network[3].reset_parameters()
    changed = checks(callback, network)
    assert changed["change_since_last"] == pytest.approx(changed["change_since_start"])
    assert changed["change_since_start"] > 0.001
    again = checks(callback, network)
    assert again["change_since_last"] == pytest.approx(0, abs=1e-6)
    assert again["change_since_start"] == pytest.approx(changed["change_since_start"])


def test_the_pictures_of_a_test_run_are_compared_with_no_others():
    network, callback = small_network(), SaliencyLogger(trust=["change", "sanity"], target=1)
    test = {tag.rpartition("/")[2] for tag in scalars(draw(callback, network, PROBE, split="test"))}
    assert test == {"sanity", "sanity_spread"}
    assert callback.runner.state.start_maps == callback.runner.state.sanity == {}


def test_change_needs_the_same_pictures():
    with pytest.raises(ValueError, match=r"trust=\['change'\] .* give Probe.hardest\(\), or leave 'change' out"):
        SaliencyLogger(trust=["change"], probe=Probe.hardest(refresh=True))
    SaliencyLogger(trust=["sanity"], probe=Probe.hardest(refresh=True))
    SaliencyLogger(trust=["change"], probe=Probe.hardest())


def test_maps_of_another_size_start_again():
    network, callback = small_network(), SaliencyLogger(trust=["change"], target=1)
    checks(callback, network)
    other = Probe(torch.rand(3, 3, 16, 16), PROBE.labels)
    assert checks(callback, network, other) == pytest.approx(dict(zip(CHANGE, (0, 0, 1), strict=True)), abs=1e-6)


def test_sanity_is_computed_once():
    network, callback = small_network(), SaliencyLogger(trust=["sanity"], target=1)
    assert -1 <= checks(callback, network)["sanity"] <= 1
    assert checks(callback, network) == {}


def test_sanity_compares_maps_of_the_same_class(monkeypatch):
    network, callback, calls = small_network(), GradCAMLogger(trust=["sanity"], layers="6"), []
    cams = module.grad_cams
    monkeypatch.setattr(
        module, "grad_cams", lambda model, images, target, **options: calls.append((model, target))
        or cams(model, images, target, **options)
    )  # fmt: skip
    draw(callback, network, PROBE)
    predicted = network(PROBE.images).argmax(dim=1)
    assert [model is network for model, _ in calls] == [True] + [False] * SANITY_DRAWS
    assert all(torch.equal(target, predicted) for _, target in calls)


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_faithfulness_is_that_of_the_maps(kind):
    network = small_network()
    (panel, *_), found = draw(kind(target=1), network, PROBE), checks(kind(trust=["faithfulness"], target=1), network)
    expected = faithfulness_gain(network, PROBE.images, panel.values, 1, AutoBatch())
    assert found == pytest.approx({name: float(values.mean()) for name, values in expected.items()}, abs=1e-5)


def test_noise_is_no_better_than_noise():
    class Corner(nn.Module):
        """Sees one corner alone: two logits, of which the second is its brightness."""

        def forward(self, images):
            bright = images[:, :, :4, :4].mean(dim=(1, 2, 3)) - 1
            return 8 * torch.stack([-bright, bright], dim=1)

    found = faithfulness_gain(Corner(), torch.rand(8, 3, 32, 32) + 0.5, torch.rand(8, 32, 32), 1, AutoBatch())
    assert found["over_random"].mean().abs() < 0.1


def test_the_passes_of_faithfulness_are_counted():
    network, callback = small_network(), GradCAMLogger(layers="6", trust=["faithfulness"], target=1)
    plain = GradCAMLogger(layers="6", target=1)
    added = callback.estimated_passes(network, PROBE.images) - plain.estimated_passes(network, PROBE.images)
    contexts = [make_context(network, PROBE, one) for one in (plain, callback)]
    forwards = count_forwards(network)
    list(plain.draw(contexts[0]))
    without = sum(forwards)
    list(callback.draw(contexts[1]))
    fixed = len(PROBE)  # a forward that fixes the target
    assert sum(forwards) - 2 * without - fixed == pytest.approx(3 * added)
    assert added == 57 * len(PROBE) / 3


def test_the_panel_says_the_numbers():
    panel, *_ = draw(GradCAMLogger(trust=["change"]), small_network(), PROBE)
    assert "trust: change since last 0.00, change since start 0.00, rank since start 1.00" in panel.notes


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The events of a run with all checks, and of the run that goes on from it."""
    folder, options = (
        tmp_path_factory.mktemp("run"),
        {"trust": ["change", "faithfulness", "sanity"], "on_error": "raise"},
    )
    run = trainer(folder, [GradCAMLogger(**options)])
    run.fit(Lit(), loader(), loader())
    run.save_checkpoint(folder / "saved.ckpt")
    second = trainer(folder, [GradCAMLogger(**options)], max_epochs=3)
    second.fit(Lit(), loader(), loader(), ckpt_path=str(folder / "saved.ckpt"))
    return Events(folder / "run/version_0"), Events(folder / "run/version_1")


TRUST = "gradcam/network.6/trust"


@pytest.mark.parametrize("name", [*CHANGE, "over_random", "over_blob"])
def test_a_check_is_logged_at_each_drawing(name, resumed):
    first, later = resumed
    assert first.scalar_steps(f"{TRUST}/{name}") == [0, 3, 7]
    assert later.scalar_steps(f"{TRUST}/{name}") == [11]


def test_sanity_is_logged_once_also_after_a_resume(resumed):
    first, later = resumed
    assert first.scalar_steps(f"{TRUST}/sanity") == [0]
    assert f"{TRUST}/sanity" not in later.scalar_tags


def test_change_goes_on_after_a_resume(resumed):
    first, later = resumed
    assert later.scalars(f"{TRUST}/change_since_start")[0] > 1e-4
    assert first.scalars(f"{TRUST}/change_since_start")[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("trust", "error"), [(["truth"], ValueError), ("change", TypeError)])
def test_wrong_checks(trust, error):
    with pytest.raises(error, match="trust="):
        SaliencyLogger(trust=trust)


def test_checks_may_be_any_sequence():
    assert SaliencyLogger(trust=("change", "sanity")).trust == ["change", "sanity"]


def test_maps_that_are_not_finite_are_left_out_of_the_means():
    class Cracked(nn.Module):
        """NaN for pictures that are brighter than 1."""

        def __init__(self):
            super().__init__()
            self.network = small_network()

        def forward(self, images):
            bright = (images.amax(dim=(1, 2, 3)) <= 1).where(images[:, 0, 0, 0] < 2, torch.nan)
            return self.network(images) * bright[:, None]

    images = PROBE.images.clone()
    images[1] += 3
    network = Cracked()

    def trust(probe):
        torch.manual_seed(1)
        return checks(SaliencyLogger(trust=["change", "sanity"], target=1), network, probe)

    assert not saliency(network.eval(), images, 1)[1].isfinite().all()
    expected = trust(Probe(images[[0, 2]], PROBE.labels[[0, 2]]))
    assert trust(Probe(images, PROBE.labels)) == pytest.approx(expected, abs=1e-6)
    assert all(value != value for value in trust(Probe(images[[1]])).values())
