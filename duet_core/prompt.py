"""From a question to the tokens of a prompt, with the salient words' places among them.

A conversation with answers takes the same way: up to its first answer it is, token for token, the prompt of its
question alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from duet_core.backbones.eye import Eye, Medium
from duet_core.errors import QuestionError
from duet_core.question import Span, salient_spans, tokens_under
from duet_core.tiles import Tiles

_PLAIN_TURN = "USER: {question} ASSISTANT:"  # LLaVA-1.5's, for processors that ship none


@dataclass(frozen=True, slots=True)
class Prompt:
    """A tokenised prompt: ids with one placeholder per visual token, the salient words, and the places of their tokens.

    A token that two words share counts for both.
    """

    ids: list[int]
    words: tuple[str, ...]
    spoken: tuple[tuple[int, ...], ...]

    @property
    def salient(self) -> list[int]:
        """The places of all salient tokens, ascending."""
        return sorted({place for own in self.spoken for place in own})

    @property
    def guides(self) -> list[int]:
        """The places of all tokens that guide stage 2 by the salient words: theirs and the prompt's last one."""
        return sorted({*self.salient, len(self.ids) - 1})

    def rows(self) -> tuple[tuple[int, ...], ...]:
        """Return for each word, and then for the prompt's last token, which of the `guides` are its own."""
        number = {place: row for row, place in enumerate(self.guides)}
        return tuple(tuple(number[place] for place in own) for own in (*self.spoken, (len(self.ids) - 1,)))


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A tokenised conversation: ids as in `Prompt`, the salient tokens of all questions, each answer's run of ids."""

    ids: list[int]
    salient: list[int]
    answers: list[range]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a prompt shows before the question: `marks` marks of a `medium`, each of so many visual `tokens`.

    `tiles`: for a family that knows tiles, how each picture is cut.
    """

    medium: Medium
    marks: int
    tokens: int
    tiles: Tiles | None = None

    @classmethod
    def of(cls, eye: Eye, pictures: int, tokens: int, tiles: Tiles | None = None) -> Shown:
        """What so many pictures (frames, tiles) of so many tokens are in the prompt of a model with this eye."""
        marks = eye.marks(pictures) if tiles is None else pictures // tiles.count
        return cls(eye.medium, marks, tokens * pictures // marks, tiles)

    def mark(self, processor: Any) -> str:
        """The text that the processor's template writes for one of them."""
        return processor.video_token if self.medium == "video" else processor.image_token

    def expanded(self, mark: str) -> str:
        """The text that stands for one of them in full: as many marks as visual tokens, and what lies between tiles."""
        return mark * self.tokens if self.tiles is None else self.tiles.text(mark, self.tokens // self.tiles.count)


def build_prompt(processor: Any, question: str, shown: Shown) -> Prompt:
    """Fill the checkpoint's chat template and tokenise it; the question's characters decide what is salient.

    Raises a QuestionError for an empty question or one that contains a reserved token.
    """
    question = question.strip()
    _check("question", question, processor.tokenizer)
    text = _expanded(processor, _template(processor, [question], [], shown), shown)
    ids, offsets = _tokenise(processor, text)
    spans = salient_spans(question)
    spoken = tuple(tuple(tokens_under([span], offsets, shift=text.rindex(question))) for span in spans)
    return Prompt(ids, tuple(question[start:end] for start, end in spans), spoken)


def build_dialogue(processor: Any, turns: Sequence[tuple[str, str]], shown: Shown) -> Dialogue:
    """Fill the chat template with questions and answers and tokenise them in one piece; the pictures come first.

    Raises a QuestionError for an empty or reserved text, and where template or tokenizer blur an answer's limits.
    """
    questions, answers = ([turn[side].strip() for turn in turns] for side in (0, 1))
    for text in questions:
        _check("question", text, processor.tokenizer)
    for text in answers:
        _check("answer", text, processor.tokenizer)
    whole = _expanded(processor, _template(processor, questions, answers, shown), shown)
    ids, offsets = _tokenise(processor, whole)
    salient: list[int] = []
    runs: list[range] = []
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        asked = _expanded(processor, _template(processor, questions[: number + 1], answers[:number], shown), shown)
        salient += tokens_under(salient_spans(question), offsets, shift=asked.rindex(question))
        runs.append(_answer_run(whole, asked, answer, offsets))
    return Dialogue(ids, salient, runs)


def _answer_run(whole: str, asked: str, answer: str, offsets: Sequence[Span]) -> range:
    """Return the places of the tokens that say the answer, from the end of the prompt `asked` on."""
    begin, end = len(asked), whole.find(answer, len(asked)) + len(answer)
    inside = [number for number, (first, _) in enumerate(offsets) if begin <= first < end]
    blurred = any(first < border < last for first, last in offsets for border in (begin, end))
    if not whole.startswith(asked) or end < begin + len(answer) or not inside or blurred:
        raise QuestionError(f"The chat template does not set the answer {answer[:40]!r} apart; choose another model.")
    return range(inside[0], inside[-1] + 1)


def _check(role: str, text: str, tokenizer: Any) -> None:
    if not text:
        raise QuestionError(f"The {role} is empty; type one.")
    reserved = next((token for token in tokenizer.all_special_tokens if token in text), None)
    if reserved is not None:
        raise QuestionError(f"The {role} contains {reserved!r}, which the model reserves for itself; leave it out.")


def _template(processor: Any, questions: Sequence[str], answers: Sequence[str], shown: Shown) -> str:
    """Return the text of a conversation; with one answer less than questions it ends where the model is to speak."""
    if getattr(processor, "chat_template", None) is None:
        first = f"{shown.mark(processor) * shown.marks}\n{questions[0]}"
        turns = zip_longest([first, *questions[1:]], answers)
        return "".join(
            _PLAIN_TURN.format(question=question) + ("" if answer is None else f" {answer} ")
            for question, answer in turns
        )
    messages = []
    for number, (question, answer) in enumerate(zip_longest(questions, answers)):
        pictures = [{"type": shown.medium}] * (0 if number else shown.marks)
        messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": question}]})
        if answer is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return processor.apply_chat_template(messages, add_generation_prompt=len(answers) < len(questions))


def _expanded(processor: Any, text: str, shown: Shown) -> str:
    """Repeat each mark once per visual token."""
    mark = shown.mark(processor)
    return text.replace(mark, shown.expanded(mark))


def _tokenise(processor: Any, text: str) -> tuple[list[int], list[Span]]:
    """Return the ids of a filled template and the characters (start, end) under each."""
    encoded = processor.tokenizer(
        text, return_offsets_mapping=True, add_special_tokens=not _starts_itself(processor, text)
    )
    return encoded["input_ids"], encoded["offset_mapping"]


def _starts_itself(processor: Any, text: str) -> bool:
    """Whether the template already wrote the beginning-of-sequence token that the tokenizer would add."""
    bos = processor.tokenizer.bos_token
    return bos is not None and text.startswith(bos)
