"""Which of some passages fit a query best: BM25 over no more than those passages.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), equation 3.15, with the
words of `terms.py`. The library has SQLite do the same over all that it holds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from denken.search.terms import terms

K1, B = 1.2, 0.75


def scores(query: str, texts: Sequence[str]) -> list[float]:
    """One for each text; 0.0 where it shares no word with the query.

    >>> [score > 0 for score in scores("harbour opens", ["The harbour opens at six.", "A tower."])]
    [True, False]
    """
    wanted = dict.fromkeys(terms(query))  # in one order in every process, and so are the sums
    counted = [Counter(terms(text)) for text in texts]
    lengths = [counts.total() for counts in counted]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    weights = {}
    for term in wanted:
        holding = sum(term in counts for counts in counted)
        weights[term] = math.log(1 + (len(counted) - holding + 0.5) / (holding + 0.5))
    return [
        sum(
            weights[term] * counts[term] * (K1 + 1) / (counts[term] + K1 * (1 - B + B * length / mean))
            for term in wanted
            if counts[term]
        )
        for counts, length in zip(counted, lengths, strict=True)
    ]
