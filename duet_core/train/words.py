"""The tokenizer and processor of duet-mini: a whole token for each word of the world, bytes for others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlavaImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

from duet_core.question import salient_spans, tokens_under
from duet_core.scenes.clip import compose_clip
from duet_core.scenes.events import draw_clip_questions
from duet_core.scenes.layout import SIZE
from duet_core.scenes.question import Question
from duet_core.scenes.questions import draw_questions
from duet_core.scenes.scene import FIRST_TRAINING_SEED, compose
from duet_core.scenes.things import BACKGROUNDS, COLOURS, COUNTS, NAMES, PLACES, PLURAL
from duet_core.scenes.wordings import trained
from duet_core.train.labels import PATCH

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
TENS = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
BOS, EOS, PAD, IMAGE = "<s>", "</s>", "<pad>", "<image>"
# LLaVA-1.5's conversation form; the frames of a clip are numbered.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ loop.index if loop.length > 1 else '' }}<image>\n{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
VOCABULARY = 2048
_CORPUS_SUBJECTS = 2500
_WORLD_WEIGHT = 400  # how often each word of the world stands in the corpus, so that it becomes one token


def world() -> list[str]:
    """The words of the world, singular and plural."""
    named = (*NAMES, *PLURAL.values(), *COLOURS, *BACKGROUNDS, *COUNTS, *PLACES, *ORDINALS, *TENS)
    return [*named, "nothing", "nowhere", "yes", "no"]


def corpus() -> list[str]:
    """Texts in which the words of the world stand as they will be asked and answered."""
    texts = [f"USER: \n{word} ASSISTANT: {word}" for word in world() for _ in range(_WORLD_WEIGHT)]
    first, wordings = FIRST_TRAINING_SEED, trained()
    for seed in range(first, first + _CORPUS_SUBJECTS):
        (_, layout, rng), (_, clip, _) = compose(seed), compose_clip(seed)
        drawn = (*draw_questions(layout, rng, most=2), *draw_clip_questions(clip, rng, most=1))
        asked = [wordings.reword(question, rng) for question in drawn] + [wordings.refusal(rng) for _ in range(2)]
        for question in asked:
            text = question.text.lower() if rng.random() < 0.3 else question.text
            texts.append(f"USER: \n{text} ASSISTANT: {question.answer}")
    return texts


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which every word of the world is one token; rarer words are pieces, down to bytes."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(r"\d"), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=1,
        special_tokens=[PAD, BOS, EOS, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


@cache
def world_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the world, trained once in a process."""
    return train_tokenizer(corpus())


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """A LLaVA processor that leaves a square picture of 336 pixels as it is and pads others to a square."""
    pictures = LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
    )


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The ids of bos, eos, pad and image."""
    names = {"bos": BOS, "eos": EOS, "pad": PAD, "image": IMAGE}
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return {name: vocabulary[token] for name, token in names.items()}


@dataclass(frozen=True, slots=True)
class Turn:
    """The tokens after the pictures: of the question up to "ASSISTANT:", and of the answer with eos.

    `guides` are the places in `asked` that guide stage 2: the question's salient words and the last prompt token.
    """

    asked: tuple[int, ...]
    answered: tuple[int, ...]
    guides: tuple[int, ...]


class Speech:
    """Texts to tokens, in the very layout that the chat template gives."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.ids = special_ids(tokenizer)
        self._end = self._encode(" ASSISTANT:")
        self._answer = lru_cache(maxsize=10_000)(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def prefix(self, frames: int, tokens: int) -> tuple[int, ...]:
        """The prompt up to the last visual token: pictures of `tokens` each, numbered if there are several."""
        image = (self.ids["image"],) * tokens
        head = (self.ids["bos"], *self._encode("USER: "))
        if frames == 1:
            return (*head, *image)
        shots = [(*self._encode(str(number)), *image) for number in range(1, frames + 1)]
        line = self._encode("\n")
        return (*head, *(token for shot in shots for token in (*shot, *line)))[: -len(line)]

    def turn(self, question: Question) -> Turn:
        """The tokens of a question and its answer."""
        coded = self.tokenizer(f"\n{question.text}", add_special_tokens=False, return_offsets_mapping=True)
        asked = (*coded["input_ids"], *self._end)
        salient = tokens_under(salient_spans(question.text), coded["offset_mapping"], shift=1)
        answered = (*self._answer(f" {question.answer}"), self.ids["eos"])
        return Turn(asked, answered, (*salient, len(asked) - 1))

    def word(self, text: str) -> np.ndarray:
        """The tokens of a word or two as they stand in an answer."""
        return np.asarray(self._encode(f" {text}"))
