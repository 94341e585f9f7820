"""Rules that choose a value of a ticket by the words of its text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class WordRule:
    """A value for a text that has one of the `words`. A word that ends with `*` stands for longer ones too."""

    value: str
    words: tuple[str, ...]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        alternatives = (re.escape(word).replace(r"\*", r"\w*") for word in self.words)
        return re.compile(rf"(?<!\w)(?:{'|'.join(alternatives)})(?!\w)", re.IGNORECASE)

    def matches(self, text: str) -> bool:
        """Return whether the text has one of the words."""
        return self._pattern.search(text) is not None


def find_values(rules: Iterable[WordRule], text: str) -> list[str]:
    """Find the values of all rules that match the text, in the order of the rules."""
    return [rule.value for rule in rules if rule.matches(text)]
