"""The tokenizer and processor of duet-mini: a whole token for each word of the world, bytes for others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlavaImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

from duet_core.scenes.layout import SIZE
from duet_core.scenes.questions import Question, draw_questions
from duet_core.scenes.scene import FIRST_TRAINING_SEED, compose
from duet_core.scenes.things import COLOURS, COUNTS, NAMES, PLACES, PLURAL
from duet_core.train.labels import PATCH

BOS, EOS, PAD, IMAGE = "<s>", "</s>", "<pad>", "<image>"
# LLaVA-1.5's conversation form.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_CORPUS_SCENES = 3000


def corpus() -> list[str]:
    """Texts in which every word of the world stands as it will be asked and answered."""
    texts = [f"USER: \nWhat? ASSISTANT: {word}" for word in (*NAMES, *PLURAL.values())]
    texts += [f"USER: {word}" for word in (*COLOURS, *COUNTS, *PLACES, "nothing", "yes", "no")]
    for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + _CORPUS_SCENES):
        _, layout, rng = compose(seed)
        for question in draw_questions(layout, rng, most=2):
            texts.append(f"USER: \n{question.text} ASSISTANT: {question.answer}")
    return texts


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose merges run until every word of the texts is one token."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(r"\d"), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
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
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


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
    """The tokens after the image: of the question up to "ASSISTANT:", and of the answer with eos."""

    asked: tuple[int, ...]
    answered: tuple[int, ...]


class Speech:
    """Texts to tokens, in the very layout that the chat template gives."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.ids = special_ids(tokenizer)
        self.head = (self.ids["bos"], *self._encode("USER: "))
        self.turn = lru_cache(maxsize=200_000)(self._turn)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _turn(self, question: Question) -> Turn:
        asked = self._encode(f"\n{question.text} ASSISTANT:")
        return Turn(asked, (*self._encode(f" {question.answer}"), self.ids["eos"]))

    def word(self, text: str) -> np.ndarray:
        """The tokens of a word or two as they stand in an answer."""
        return np.asarray(self._encode(f" {text}"))
