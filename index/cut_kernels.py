"""The compiled loops of static pruning: finding where to cut, and leaving out what lies below."""

from typing import Any

import numpy as np

from .kernels import compiled


@compiled
def within_mass(starts: Any, order: Any, weights: Any, share: float, keep: Any) -> None:
    """Mark weights of every row, in the `order` that sorts each by falling weight, until the marked
    ones hold `share` of the row's sum.
    """
    for row in range(len(starts) - 1):
        total = 0.0
        for i in range(starts[row], starts[row + 1]):
            total += weights[i]
        held = 0.0
        for i in range(starts[row], starts[row + 1]):
            if held >= share * total:
                break
            keep[order[i]] = True
            held += weights[order[i]]


@compiled
def is_kept(term: Any, bit: Any, docid: Any, cut_bits: Any, cut_docid: Any) -> Any:
    """Whether list pruning keeps a posting: heavier than its list's cut, or as heavy and not after
    the last document kept at it.
    """
    return bit > cut_bits[term] or (bit == cut_bits[term] and docid <= cut_docid[term])


@compiled
def kept_lengths(
    starts: Any, terms: Any, bits: Any, rows: Any, docids: Any, cut_bits: Any, cut_docid: Any,
    out: Any,
) -> None:  # fmt: skip
    """Postings that list pruning leaves of row rows[i], which is document docids[i]."""
    for i in range(len(rows)):
        n = 0
        for source in range(starts[rows[i]], starts[rows[i] + 1]):
            n += is_kept(terms[source], bits[source], docids[i], cut_bits, cut_docid)
        out[i] = n


@compiled
def gather_kept(
    starts: Any, terms: Any, bits: Any, rows: Any, docids: Any, cut_bits: Any, cut_docid: Any,
    new_starts: Any, new_terms: Any, new_bits: Any,
) -> None:  # fmt: skip
    """`gather` of the postings that list pruning leaves."""
    for i in range(len(rows)):
        at = new_starts[i]
        for source in range(starts[rows[i]], starts[rows[i] + 1]):
            if is_kept(terms[source], bits[source], docids[i], cut_bits, cut_docid):
                new_terms[at] = terms[source]
                new_bits[at] = bits[source]
                at += 1


@compiled
def count_heavy(terms: Any, bits: Any, lo: int, high: Any, digits: Any) -> None:
    """Postings of the terms from `lo` on by the seven low bits of their weights, among those whose
    upper bits are high[term - lo]; by the upper bits where high is negative.
    """
    for i in range(len(terms)):
        term = np.int64(terms[i]) - lo
        if 0 <= term < len(high):
            if high[term] < 0:
                digits[term, bits[i] >> 7] += 1
            elif bits[i] >> 7 == high[term]:
                digits[term, bits[i] & 127] += 1


@compiled
def nth_digit(digits: Any, left: Any, digit: Any) -> None:
    """Per line of `digits`, from the largest down, the digit of the left[line]-th posting; `left`
    becomes how many postings of that digit are meant.
    """
    for line in range(len(digits)):
        wanted = left[line]
        digit[line] = 0
        for d in range(digits.shape[1] - 1, -1, -1):
            if digits[line, d] >= wanted:
                digit[line] = d
                break
            wanted -= digits[line, d]
        left[line] = wanted


@compiled
def last_at_cut(
    starts: Any, terms: Any, bits: Any, docids: Any, lo: int, cut: Any, left: Any, last: Any
) -> None:
    """Take `left` postings of each term from `lo` on that weigh exactly its cut, in the order of
    the rows; last[term - lo] is the document of the last one taken.
    """
    for doc in range(len(docids)):
        for i in range(starts[doc], starts[doc + 1]):
            term = np.int64(terms[i]) - lo
            if 0 <= term < len(cut) and bits[i] == cut[term] and left[term] > 0:
                left[term] -= 1
                last[term] = docids[doc]
