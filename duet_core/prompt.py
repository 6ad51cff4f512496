"""From a question to the tokens of a prompt, with the salient words' places among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from duet_core.errors import QuestionError
from duet_core.question import salient_spans, tokens_under

_PLAIN_TEMPLATE = "USER: {image}\n{question} ASSISTANT:"  # LLaVA-1.5's, for processors that ship none


@dataclass(frozen=True, slots=True)
class Prompt:
    """A tokenised prompt: ids with one placeholder per visual token, the salient tokens' places, and their words."""

    ids: list[int]
    salient: list[int]
    words: tuple[str, ...]


def build_prompt(processor: Any, question: str, n_pictures: int, tokens_per_picture: int) -> Prompt:
    """Fill the checkpoint's chat template and tokenise it; the question's characters decide what is salient.

    Raises a QuestionError for an empty question or one that contains a reserved token.
    """
    question = question.strip()
    _check(question, processor.tokenizer)
    text = _template(processor, question, n_pictures)
    text = text.replace(processor.image_token, processor.image_token * tokens_per_picture)
    encoded = processor.tokenizer(
        text, return_offsets_mapping=True, add_special_tokens=not _starts_itself(processor, text)
    )
    spans = salient_spans(question)
    places = tokens_under(spans, encoded["offset_mapping"], shift=text.rindex(question))
    return Prompt(encoded["input_ids"], places, tuple(question[start:end] for start, end in spans))


def _check(question: str, tokenizer: Any) -> None:
    if not question:
        raise QuestionError("The question is empty; type one.")
    reserved = next((token for token in tokenizer.all_special_tokens if token in question), None)
    if reserved is not None:
        raise QuestionError(f"The question contains {reserved!r}, which the model reserves for itself; leave it out.")


def _template(processor: Any, question: str, n_pictures: int) -> str:
    if getattr(processor, "chat_template", None) is None:
        return _PLAIN_TEMPLATE.format(image=processor.image_token * n_pictures, question=question)
    content = [{"type": "image"}] * n_pictures + [{"type": "text", "text": question}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def _starts_itself(processor: Any, text: str) -> bool:
    """Whether the template already wrote the beginning-of-sequence token that the tokenizer would add."""
    bos = processor.tokenizer.bos_token
    return bos is not None and text.startswith(bos)
