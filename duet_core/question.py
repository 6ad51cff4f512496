"""The salient words of a question and where they sit among the tokens.

The reference tags words with spaCy and drops NLTK's stopwords; neither comes from a package registry with its data,
so closed-class words and numbers are listed here and every other word counts as a noun, verb, adjective or adverb.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Span = tuple[int, int]

_ASKING = frozenset(["who", "what", "where", "when", "why", "how", "which", "whom", "whose"])
_MARKS = frozenset("?!:")
_CLOSED = frozenset(
    # articles, demonstratives, quantifiers
    "a an the this that these those all any both each every few more most other another some such no either"
    " neither own same"
    # prepositions and particles
    " of at by for with about against between into through during before after above below to from up down in out on"
    " off over under near per via without within upon across along around behind beside inside outside toward towards"
    " onto than as like"
    # conjunctions and negation
    " and but if or because until while nor not so whether although though"
    # auxiliaries and modals
    " am is are was were be been being have has had having do does did doing can could will would shall should may"
    " might must ought"
    # personal pronouns and their kin
    " i me my mine we us our ours you your yours he him his she her hers it its they them their theirs myself"
    " yourself himself herself itself ourselves yourselves themselves there here"
    # adverbs that carry no content
    " again further then once only too very just now"
    # numbers
    " zero one two three four five six seven eight nine ten eleven twelve hundred thousand"
    # interjections
    " yes ok okay please"
    # what is left of contractions
    " s t d ll m o re ve y n't 's 're 've 'll 'd 'm".split()
)
_WORD = re.compile(r"\w+(?:['’]\w+)*|[?!:]")
_CONTRACTION = re.compile(r"(?:n['’]t|['’](?:s|re|ve|ll|d|m))$", re.IGNORECASE)


def salient_spans(question: str) -> list[Span]:
    """Return the (start, end) character spans of the question's salient words and marks, in order.

    Question words and `? ! :` always count; closed-class words and numbers never do (DUET-VLM section 3.2). A
    repeated word counts each time; the ending of a contraction or genitive is left out of its span.
    """
    found = ((match.start(), _CONTRACTION.sub("", match.group())) for match in _WORD.finditer(question))
    return [(start, start + len(stem)) for start, stem in found if _is_salient(stem.lower())]


def _is_salient(stem: str) -> bool:
    if stem in _ASKING or stem in _MARKS:
        return True
    return stem not in _CLOSED and not stem.isdigit()


def tokens_under(spans: Sequence[Span], offsets: Sequence[Span], shift: int = 0) -> list[int]:
    """Return the numbers of the tokens that overlap any span.

    `offsets`: (start, end) characters of each token, as a fast tokenizer reports them; `shift` moves the spans into
    the same text. Tokens without characters (special ones) have start == end and never match.
    """
    moved = [(start + shift, end + shift) for start, end in spans]
    return [
        number
        for number, (first, last) in enumerate(offsets)
        if first < last and any(first < end and start < last for start, end in moved)
    ]
