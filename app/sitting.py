"""One exam of the scorecard: what a visitor asked for, and what happens while it is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.job import Phase
from app.shelf import Downloading
from duet_core.bench.accuracy import FULL
from duet_core.bench.exams import Exam
from duet_core.bench.report import Row

Subject = Literal["pictures", "clips"]
BEST_BEFORE = 90.0  # seconds that a visitor may have the model for, and the others wait
FEWEST, MOST = 10, 200  # questions


@dataclass(frozen=True, slots=True)
class Sitting:
    """An exam to take, checked: fresh scenes from `seed` on, `n` questions about them to every method and budget.

    `budgets`: reductions such as 67%; all tokens run along. `seconds`: when the exam ends at the latest.
    """

    model: str
    subject: Subject
    methods: tuple[str, ...]
    budgets: tuple[str, ...]
    n: int
    seed: int
    seconds: float = BEST_BEFORE

    @property
    def exam(self) -> Exam:
        """The exam as the bench knows it."""
        return Exam(self.subject)

    @property
    def command(self) -> str:
        """The shell command that repeats the exam."""
        words = f"--model {self.model} --exam {self.subject} --seed {self.seed} --n {self.n}"
        budgets = ",".join((FULL, *self.budgets))
        return f"python -m duet_core bench accuracy {words} --budgets {budgets} --methods {','.join(self.methods)}"


@dataclass(frozen=True, slots=True)
class Turn:
    """A method at a budget has answered about a scene: so many of so many answers are there."""

    method: str
    budget: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Scored:
    """All have answered about one more scene; `timed_out`: that was the last one that there was time for."""

    rows: tuple[Row, ...]
    questions: int
    timed_out: bool = False


SittingEvent = Phase | Downloading | Turn | Scored
