"""Lightning as the user has it: `pytorch_lightning`, `lightning.pytorch`, or both. Nothing else here imports either.

They are two copies of the same code, with classes of their own, and a process that has one should not load the other.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["Callback", "join", "pl", "rank_zero_warn"]

PACKAGES = "pytorch_lightning", "lightning.pytorch"

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.utilities import rank_zero_warn
else:
    pl = import_module(next((name for name in PACKAGES if name in sys.modules), PACKAGES[0]))
    rank_zero_warn = pl.utilities.rank_zero_warn


class Callback(pl.Callback):
    """A callback of every Lightning that is imported: each trainer and its CLI ask for their own class."""


def join() -> None:
    """Make `Callback` one of those Lightnings, too, that were imported since."""
    classes = [getattr(sys.modules.get(name), "Callback", Callback) for name in PACKAGES]
    Callback.__bases__ += tuple(one for one in classes if not issubclass(Callback, one))


join()
