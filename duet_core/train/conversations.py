r"""Conversations about pictures in LLaVA's JSON, and their way to token ids, labels and the places that guide stage 2.

An entry is `{"id": ..., "image": "file.png", "conversations": [{"from": "human", "value": "<image>\nQuestion"},
{"from": "gpt", "value": "Answer"}, ...]}`, with one picture and as many turns as you like.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from duet_core.engine import Model
from duet_core.errors import ConversationError, ModelError, PictureError, QuestionError
from duet_core.pictures import pixels_of
from duet_core.plan import Queries
from duet_core.prompt import Dialogue, Shown, build_dialogue

IGNORED = -100
_MARK = "<image>"
_ROLES = ("human", "gpt")


@dataclass(frozen=True, slots=True)
class Conversation:
    """One entry: what to call it, its picture's file, and its turns of question and answer."""

    name: str
    picture: Path
    turns: tuple[tuple[str, str], ...]

    def pixels(self, processor: Any) -> dict[str, Tensor]:
        """Return what an image processor makes of the picture; a ConversationError if it cannot be used."""
        try:
            return pixels_of(processor, [ImageOps.exif_transpose(Image.open(self.picture))])
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise ConversationError(
                f"{self.name} names {self.picture}, which is no picture that can be read; give a PNG, JPEG or WebP."
            ) from error
        except PictureError as error:
            raise ConversationError(f"{self.name} cannot be used: {error}") from error


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as the model takes it.

    `ids`: prompt and answers, one placeholder per visual token. `labels`: one per id, the token to say after it where
    the loss asks for it and `IGNORED` elsewhere. Places in `ids`: `salient` words of the questions, `last` tokens
    before each answer, and all the `asked` text between the picture and the answers.
    """

    ids: list[int]
    labels: list[int]
    salient: list[int]
    last: list[int]
    asked: list[int]

    @property
    def targets(self) -> int:
        """How many tokens the loss asks for."""
        return sum(label != IGNORED for label in self.labels)

    def queries(self, rule: Queries) -> list[int]:
        """Return the places in `ids` whose attention ranks the visual tokens, as inference has them by this rule."""
        return {"salient": self.salient + self.last, "all_text": self.asked, "last": self.last}[rule]


def read_conversations(data: Path, images: Path) -> list[Conversation]:
    """Read a JSON file whose pictures lie in the folder `images`; a ConversationError names the entry that is wrong."""
    return [_entry(f"Entry {n} of {data.name}", entry, images) for n, entry in enumerate(_load(data), start=1)]


def _load(data: Path) -> list[Any]:
    try:
        entries = json.loads(data.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConversationError(f"There is no readable file {data}; check the path.") from error
    except ValueError as error:
        raise ConversationError(f"{data} is no JSON: {error}; write a list of conversations.") from error
    if not isinstance(entries, list) or not entries:
        raise ConversationError(f"{data} holds no list of conversations; write [{{...}}, ...] with at least one.")
    return entries


def _entry(name: str, entry: Any, images: Path) -> Conversation:
    if not isinstance(entry, dict):
        raise ConversationError(f"{name} is no object; write id, image and conversations.")
    if not isinstance(entry.get("image"), str):
        raise ConversationError(f"{name} has no picture; give the name of one file as its image.")
    picture = images / entry["image"]
    if not picture.is_file():
        raise ConversationError(f"{name} names the picture {picture}, which does not exist; check the images' folder.")
    turns = entry.get("conversations")
    if not isinstance(turns, list) or not turns or len(turns) % 2:
        raise ConversationError(f"{name} needs pairs of human and gpt turns as its conversations.")
    texts = [_text(name, turn, number) for number, turn in enumerate(turns)]
    return Conversation(name, picture, tuple(zip(texts[::2], texts[1::2], strict=True)))


def _text(name: str, turn: Any, number: int) -> str:
    """Return a turn's text without the picture's mark, which stands first in every prompt anyway."""
    role = _ROLES[number % 2]
    if not isinstance(turn, dict) or turn.get("from") != role or not isinstance(turn.get("value"), str):
        raise ConversationError(
            f"{name} has no {role} turn with a text as its turn {number + 1}; let human and gpt alternate."
        )
    text: str = turn["value"]
    if text.count(_MARK) > int(number == 0):
        raise ConversationError(f"{name} has a {_MARK} too many in turn {number + 1}; one in the first turn is enough.")
    text = text.replace(_MARK, "").strip()
    if not text:
        raise ConversationError(f"{name} says nothing in turn {number + 1}; write a text.")
    return text


def encode(model: Model, conversation: Conversation, longest: int | None = None, shown: Shown | None = None) -> Example:
    """Tokenise a conversation; what lies beyond `longest` tokens is cut off. A ConversationError says why not.

    `shown`: what its picture is in the prompt, which may be left out where all pictures of the model are the same.
    """
    try:
        example = encode_turns(model, conversation.turns, shown)
    except QuestionError as error:
        raise ConversationError(f"{conversation.name} cannot be used: {error}") from error
    example = example if longest is None else _cut(example, longest)
    if not example.targets:
        raise ConversationError(f"{conversation.name} has no answer within {longest} tokens; shorten its question.")
    return example


def encode_turns(model: Model, turns: Sequence[tuple[str, str]], shown: Shown | None = None) -> Example:
    """Tokenise questions and answers about a picture, as it is `shown`, with the checkpoint's own template.

    Up to the first answer they are the prompt that the engine makes of the first question.
    """
    processor, eye = processor_of(model), model.backbone.eye(clip=False)
    dialogue = build_dialogue(processor, turns, shown or Shown.of(eye, 1, model.size.tokens))
    return _example(dialogue, processor.tokenizer, eye.token)


def processor_of(model: Model) -> Any:
    """Return the checkpoint's processor; a ModelError where it has none."""
    if model.processor is None:
        raise ModelError(f"The checkpoint {model.name} has no processor; add one to its folder to learn conversations.")
    return model.processor


def _example(dialogue: Dialogue, tokenizer: Any, image_token: int) -> Example:
    """Set the labels; where a template writes no end token after an answer, that answer's last label is one still."""
    ids, said = dialogue.ids, {place for run in dialogue.answers for place in run}
    labels = [IGNORED] * len(ids)
    for run in dialogue.answers:
        follows = run.stop < len(ids) and ids[run.stop] in tokenizer.all_special_ids
        end = ids[run.stop] if follows else tokenizer.eos_token_id
        labels[run.start - 1 : run.stop] = [*ids[run.start : run.stop], end]
    last = [run.start - 1 for run in dialogue.answers]
    after_picture = len(ids) - ids[::-1].index(image_token)
    asked = [place for place in range(after_picture, last[-1] + 1) if place not in said]
    return _cut(Example(ids, labels, dialogue.salient, last, asked), dialogue.answers[-1].stop)


def _cut(example: Example, length: int) -> Example:
    """Return the first `length` tokens of an example."""
    places = ([place for place in row if place < length] for row in (example.salient, example.last, example.asked))
    return Example(example.ids[:length], example.labels[:length], *places)
