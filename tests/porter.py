"""Porter's stemmer as his own program has it, step by step: the oracle of test_analysis.

Written from M. F. Porter, "An algorithm for suffix stripping" (1980), with the three departures
that https://tartarus.org/martin/PorterStemmer/ lists. Readable, not fast.
"""

STEP_2 = {
    "ational": "ate",
    "tional": "tion",
    "enci": "ence",
    "anci": "ance",
    "izer": "ize",
    "bli": "ble",
    "alli": "al",
    "entli": "ent",
    "eli": "e",
    "ousli": "ous",
    "ization": "ize",
    "ation": "ate",
    "ator": "ate",
    "alism": "al",
    "iveness": "ive",
    "fulness": "ful",
    "ousness": "ous",
    "aliti": "al",
    "iviti": "ive",
    "biliti": "ble",
    "logi": "log",
}
STEP_3 = {
    "icate": "ic",
    "ative": "",
    "alize": "al",
    "iciti": "ic",
    "ical": "ic",
    "ful": "",
    "ness": "",
}
STEP_4 = (
    "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize".split()  # noqa: SIM905
)


def is_consonant(word: str, i: int) -> bool:
    if word[i] in "aeiou":
        return False
    return word[i] != "y" or i == 0 or not is_consonant(word, i - 1)


def has_vowel(word: str) -> bool:
    return not all(is_consonant(word, i) for i in range(len(word)))


def measure(word: str) -> int:
    kinds = [is_consonant(word, i) for i in range(len(word))]
    return sum(not first and second for first, second in zip(kinds, kinds[1:], strict=False))


def ends_cvc(word: str) -> bool:
    if len(word) < 3 or word[-1] in "wxy":
        return False
    return [is_consonant(word, len(word) - i) for i in (3, 2, 1)] == [True, False, True]


def step_1(word: str) -> str:
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        word = word[:-1] if measure(word[:-3]) > 0 else word
    else:
        for suffix in ("ed", "ing"):
            rest = word.removesuffix(suffix)
            if rest != word and has_vowel(rest):
                word = rest
                if word.endswith(("at", "bl", "iz")) or (measure(word) == 1 and ends_cvc(word)):
                    word += "e"
                elif len(word) > 1 and word[-1] == word[-2] and word[-1] not in "aeioulsz":
                    word = word[:-1]
                break
    return word[:-1] + "i" if word.endswith("y") and has_vowel(word[:-1]) else word


def replaced(word: str, rules: dict[str, str]) -> str:
    """The longest suffix decides, whether or not its condition holds."""
    for suffix in sorted(rules, key=len, reverse=True):
        if word.endswith(suffix):
            rest = word.removesuffix(suffix)
            return rest + rules[suffix] if measure(rest) > 0 else word
    return word


def step_4(word: str) -> str:
    for suffix in sorted(STEP_4, key=len, reverse=True):
        if word.endswith(suffix):
            rest = word.removesuffix(suffix)
            kept = measure(rest) <= 1 or (suffix == "ion" and not rest.endswith(("s", "t")))
            return word if kept else rest
    return word


def step_5(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        if measure(rest) > 1 or (measure(rest) == 1 and not ends_cvc(rest)):
            word = rest
    return word[:-1] if word.endswith("ll") and measure(word) > 1 else word


def stem(word: str) -> str:
    if len(word) <= 2:
        return word
    return step_5(step_4(replaced(replaced(step_1(word), STEP_2), STEP_3)))
