import pytest
import torch
from torch import nn

from lightning_viz import GradCAMLogger, Probe, SaliencyLogger
from lightning_viz.callbacks.attribution import faithfulness, redrawn
from lightning_viz.methods import saliency

from ..support import Events, Lit, loader, small_network, trainer

PROBE = Probe(torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 1]))
CHANGE = ["change_since_last", "change_since_start", "rank_since_start"]


def scalars(callback, network):
    found = {item.tag: item.value for item in callback.draw(network, PROBE) if hasattr(item, "value")}
    return {tag.rpartition("/trust/")[2]: value for tag, value in found.items()}


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_change_is_none_at_first_and_then_that_of_the_maps(kind):
    network, callback = small_network().eval(), kind(trust=["change"], target=1)
    assert scalars(callback, network) == pytest.approx(dict(zip(CHANGE, (0, 0, 1), strict=True)), abs=1e-6)
    torch.manual_seed(5)
    network[3].reset_parameters()
    changed = scalars(callback, network)
    assert changed["change_since_last"] == pytest.approx(changed["change_since_start"])
    assert changed["change_since_start"] > 0.001
    again = scalars(callback, network)
    assert again["change_since_last"] == pytest.approx(0, abs=1e-6)
    assert again["change_since_start"] == pytest.approx(changed["change_since_start"])


def test_sanity_is_computed_once():
    network, callback = small_network().eval(), SaliencyLogger(trust=["sanity"], target=1)
    assert -1 <= scalars(callback, network)["sanity"] <= 1
    assert scalars(callback, network) == {}


def test_sanity_compares_maps_of_the_same_class(monkeypatch):
    network, callback, targets = small_network().eval(), GradCAMLogger(trust=["sanity"], layers="6"), []
    cam = callback._cam
    monkeypatch.setattr(
        callback,
        "_cam",
        lambda *args, **options: targets.append(args[2:] or options["target"]) or cam(*args, **options),
    )
    list(callback.draw(network, PROBE))
    predicted = network(PROBE.images).argmax(dim=1)
    assert len(targets) == 2
    assert all(torch.equal(target[0] if isinstance(target, tuple) else target, predicted) for target in targets)


def test_redrawn_weights_are_a_copys():
    network = small_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    other = redrawn(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not torch.equal(other[0].weight, network[0].weight)


class Corner(nn.Module):
    """Sees one corner alone: two logits, of which the second is its brightness."""

    def forward(self, images):
        bright = images[:, :, :4, :4].mean(dim=(1, 2, 3)) - 1
        return 8 * torch.stack([-bright, bright], dim=1)


def test_a_true_map_is_better_than_chance_and_than_a_blob():
    images = 0.1 * torch.rand(3, 3, 16, 16)
    images[:, :, :4, :4] += 2
    true = saliency(Corner(), images, 1)
    found = faithfulness(Corner(), images, true, 1)
    assert found["over_random"].min() > 0.1
    assert found["over_blob"].min() > 0.1


def test_noise_is_no_better_than_chance():
    images = torch.rand(8, 3, 32, 32) + 0.5
    found = faithfulness(Corner(), images, torch.rand(8, 32, 32), 1)
    assert found["over_random"].mean().abs() < 0.1


def test_the_cost_of_faithfulness_is_what_it_says():
    seen = []
    network = small_network()
    network.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    faithfulness(network, PROBE.images, torch.rand(3, 12, 12), 1)
    assert sum(seen) == 57 * len(PROBE)


def test_it_is_logged_printed_and_kept_over_a_resume(tmp_path):
    checks = ["change", "faithfulness", "sanity"]
    run = trainer(tmp_path, [GradCAMLogger(trust=checks, on_error="raise")])
    run.fit(Lit(), loader(), loader())
    run.save_checkpoint(tmp_path / "saved.ckpt")
    again = GradCAMLogger(trust=checks, on_error="raise")
    second = trainer(tmp_path, [again], max_epochs=3)
    second.fit(Lit(), loader(), loader(), ckpt_path=str(tmp_path / "saved.ckpt"))
    first, later = Events(tmp_path / "run/version_0"), Events(tmp_path / "run/version_1")
    trust = "gradcam/network.6/trust/"
    for name in (*CHANGE, "over_random", "over_blob"):
        assert first.scalar_steps(trust + name) == [0, 3, 7]
        assert later.scalar_steps(trust + name) == [11]
    assert first.scalar_steps(f"{trust}sanity") == [0]
    assert f"{trust}sanity" not in later.scalar_tags
    (panel, *_) = again.draw(Lit(), PROBE)
    assert any(note.startswith("trust: change since last ") for note in panel.notes)


@pytest.mark.parametrize(("trust", "error"), [(["truth"], ValueError), ("change", TypeError)])
def test_wrong_checks(trust, error):
    with pytest.raises(error, match="trust="):
        SaliencyLogger(trust=trust)


def test_maps_that_are_not_finite_are_left_out_of_the_means():
    class Cracked(nn.Module):
        """NaN for pictures that are brighter than 1."""

        def __init__(self):
            super().__init__()
            self.network = small_network().eval()

        def forward(self, images):
            return (
                self.network(images)
                * (images.amax(dim=(1, 2, 3)) <= 1).where(images[:, 0, 0, 0] < 2, torch.nan)[:, None]
            )

    images = PROBE.images.clone()
    images[1] += 3
    network = Cracked().eval()

    def trust(probe):
        callback = SaliencyLogger(trust=["change", "sanity"], target=1)
        found = {item.tag: item.value for item in callback.draw(network, probe) if hasattr(item, "value")}
        return {tag.rpartition("/trust/")[2]: value for tag, value in found.items()}

    torch.manual_seed(1)
    cracked = trust(Probe(images, PROBE.labels))
    torch.manual_seed(1)
    assert cracked == pytest.approx(trust(Probe(images[[0, 2]], PROBE.labels[[0, 2]])), abs=1e-6)
    assert all(value != value for value in trust(Probe(images[[1]])).values())
