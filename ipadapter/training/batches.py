"""Which examples a run sees when, and making them one micro-batch ahead."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .buckets import Buckets
from .draws import Draw, draw_example
from .module import Batch, FrozenModel, TrainingSet, make_batch
from .recipe import Recipe


@dataclass(frozen=True)
class Share:
    """The part of every micro-batch that one process works on."""

    process: int = 0
    processes: int = 1

    def positions(self, recipe: Recipe, number: int) -> range:
        """Positions in the run of the examples of its `number`-th micro-batch."""
        first = number * self.processes + self.process
        return range(first * recipe.batch_size, (first + 1) * recipe.batch_size)


ALONE = Share()


@dataclass
class Batches:
    """The micro-batches of a run, by number. One at most is made before it is asked for."""

    data: TrainingSet
    model: FrozenModel
    recipe: Recipe
    share: Share = ALONE
    buckets: Buckets | None = None  # of pictures of several sizes; None: all are of one
    _ahead: tuple[int, Batch] | None = field(default=None, init=False)

    def take(self, number: int) -> Batch:
        """One micro-batch, at once if it is the one made ahead."""
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead and ahead[0] == number else self.make(number)

    def make_ahead(self, number: int) -> None:
        """Make one, if the run has so many, while the device still works on the one before."""
        if number < self.recipe.batches_of(self.recipe.steps).start:
            self._ahead = number, self.make(number)

    def make(self, number: int) -> Batch:
        """One micro-batch."""
        positions = self.share.positions(self.recipe, number)
        return make_batch(self.data, self.model, [self.draw(position) for position in positions], self.recipe.drops)

    def draw(self, position: int) -> Draw:
        """The draw at a position; with buckets all those of an optimizer step, in every process, are of one."""
        drawn = draw_example(self.recipe.seed, position, len(self.data))
        if self.buckets is None:
            return drawn
        step_size = self.recipe.examples_a_step * self.share.processes
        return replace(drawn, index=self.buckets.picture(self.recipe.seed, position, step_size))
