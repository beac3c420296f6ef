"""What several callbacks record, they record in the validation loop's own forward passes."""

import pytest
import pytorch_lightning as pl

from lightning_viz import ActivationLogger, EmbeddingProjectorLogger, GradCAMLogger, Probe, TopPatchesLogger

from ..support import Events, Lit, loader, trainer


class Passes(pl.Callback):
    """The sizes of the network's forward passes during each validation batch."""

    def __init__(self):
        self.sizes = []

    def on_validation_batch_start(self, trainer, pl_module, *args):
        sizes = []
        self.sizes.append(sizes)
        self.hook = pl_module.network.register_forward_pre_hook(lambda _m, inputs: sizes.append(len(inputs[0])))

    def on_validation_batch_end(self, *args):
        self.hook.remove()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The forward passes and the events of a run with all that records."""
    folder, passes = tmp_path_factory.mktemp("run"), Passes()
    callbacks = [
        passes,  # before those that record, so that it sees all that they do
        ActivationLogger(on_error="raise"),
        EmbeddingProjectorLogger(on_error="raise"),
        TopPatchesLogger(max_units=2, patches=2, on_error="raise"),
        GradCAMLogger(probe=Probe.hardest(), on_error="raise"),
    ]
    trainer(folder, callbacks).fit(Lit(), loader(), loader())
    return passes.sizes, Events(folder / "run/version_0")


def test_the_loop_has_no_forward_pass_more(run):
    """But for a few images at the start of each, to find what to listen to."""
    passes, _ = run
    loops = passes[:2], passes[2:6], passes[6:]
    assert all(sizes[-1] == 6 and 6 not in sizes[:-1] for sizes, *_ in loops)
    assert all(sum(sizes[:-1]) <= 3 for sizes, *_ in loops[1:])
    assert all(sizes == [6] for _, *others in loops for sizes in others)


def test_everything_recorded_is_drawn(run):
    _, events = run
    first = {tag.split("/")[0] for tag in events.image_tags}
    assert first == {"activations", "embedding", "gradcam", "patches"}
    assert events.scalar_steps("activations/network.5/dead") == [3, 7]
