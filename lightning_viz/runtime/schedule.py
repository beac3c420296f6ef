"""When a callback draws."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Every n-th epoch, or every n-th training step instead; and before the first step."""

    every_n_epochs: int = 1
    every_n_train_steps: int | None = None
    log_at_start: bool = True

    @property
    def in_steps(self) -> bool:
        """Whether it counts steps, at which no validation loop ends."""
        return self.every_n_train_steps is not None

    def is_due_after_step(self, step: int) -> bool:
        """Whether to draw after this step, counted from 0."""
        return self.every_n_train_steps is not None and (step + 1) % self.every_n_train_steps == 0

    def is_due_after_epoch(self, epoch: int) -> bool:
        """Whether to draw at the end of this epoch, counted from 0."""
        return not self.in_steps and (epoch + 1) % self.every_n_epochs == 0

    def needs_recording(self, epoch: int, sanity_checking: bool) -> bool:
        """Whether what the validation loop of this epoch records is drawn next."""
        if self.in_steps:
            return False
        return self.log_at_start if sanity_checking else self.is_due_after_epoch(epoch)
