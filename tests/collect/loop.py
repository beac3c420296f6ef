"""A validation loop without a trainer, for the tests of what listens to it."""

from lightning_viz.collect.recorder import ForwardRecorder, Recording
from lightning_viz.data.batch import unpack_batch


def run_loop(network, batches, recordings, step=None, positions=None, rerun=None):
    """The recorder after these batches, each run by `step`; by default by the network itself."""
    recorder = ForwardRecorder(network, unpack_batch, recordings, rerun)
    recorder.open(batches[0])
    for batch in batches:
        recorder.start(batch)
        (step or (lambda batch: network(batch[0])))(batch)
        recorder.end(0, None, positions)
    recorder.merge(0)
    return recorder


def accumulate(network, batches, accumulator, **options):
    """The accumulator after these batches, none of which failed."""
    recording = Recording([accumulator])
    run_loop(network, batches, [recording], **options)
    if recording.error is not None:
        raise recording.error
    return accumulator
