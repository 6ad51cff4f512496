"""From tokens to text, as the tokens come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_HALF = "\ufffd"  # what a tokenizer decodes half a character to


@dataclass(slots=True)
class Speech:
    """One answer in the making: its token `ids`, and what was `said` so far."""

    tokenizer: Any
    ids: list[int] = field(default_factory=list)
    said: str = ""

    def hear(self, tokens: list[int]) -> str:
        """Add tokens and return the text that came with them; half a character waits for the rest of its bytes."""
        self.ids += tokens
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True).lstrip()
        if text.endswith(_HALF):
            return ""
        fresh, self.said = text[len(self.said) :], text
        return fresh
