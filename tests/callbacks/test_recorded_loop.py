"""What several callbacks record, they record in the validation loop's own forward passes."""

import pytest
import pytorch_lightning as pl

from lightning_viz import ActivationLogger, EmbeddingProjectorLogger, GradCAMLogger, Probe, TopPatchesLogger

from ..support import Events, Lit, loader, trainer


class CountImages(pl.Callback):
    """How many images the network gets during each validation batch."""

    def __init__(self):
        self.counts = []

    def on_validation_batch_start(self, trainer, pl_module, *args):
        self.counts.append(0)
        self.hook = pl_module.network.register_forward_pre_hook(lambda _m, inputs: self.add(len(inputs[0])))

    def add(self, count):
        self.counts[-1] += count

    def on_validation_batch_end(self, *args):
        self.hook.remove()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The counts and the events of a run with all that records."""
    folder, counting = tmp_path_factory.mktemp("run"), CountImages()
    callbacks = [
        ActivationLogger(on_error="raise"),
        EmbeddingProjectorLogger(on_error="raise"),
        TopPatchesLogger(max_units=2, patches=2, on_error="raise"),
        GradCAMLogger(probe=Probe.hardest(), on_error="raise"),
        counting,
    ]
    trainer(folder, callbacks).fit(Lit(), loader(), loader())
    return counting.counts, Events(folder / "run/version_0")


def test_the_loop_has_no_forward_pass_more(run):
    counts, _ = run
    assert counts == [6] * (2 + 4 + 4)


def test_everything_recorded_is_drawn(run):
    _, events = run
    first = {tag.split("/")[0] for tag in events.image_tags}
    assert first == {"activations", "embedding", "gradcam", "patches"}
    assert events.scalar_steps("activations/network.5/dead") == [3, 7]
