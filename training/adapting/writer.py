"""A language model that writes what somebody might ask of a passage.

Titles and first sentences (`pseudo_queries.py`) are in the words of those who wrote the documents;
people who search ask. A decoder that is shown a few passages with the query that each of them
answers goes on for the next one: doc2query (Nogueira et al., 2019, arXiv 1904.08375), InPars
(Bonifacio et al., 2022, arXiv 2202.05144), Promptagator (Dai et al., 2023, arXiv 2209.11755).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from lsr.encoders.decoder_loading import find_source, load_backbone, load_tokenizer
from lsr.encoders.folder import Fingerprint
from lsr.encoders.hub import download
from lsr.encoders.model import pick_device
from lsr.encoders.tokens import TextTokenizer
from lsr.errors import EncoderError

from ..mining.cleaning import normalised

SHOWN = {
    "how tall do spruce trees get": "Spruces are large trees, from about 20 to 60 metres tall when "
    "mature, and have whorled branches and a conical form.",
    "what is gdp": "Gross domestic product is a measure of the market value of all the final goods "
    "and services produced in a period of time by a country.",
    "side effects of aspirin": "Common side effects of aspirin include an upset stomach. More "
    "serious ones are stomach ulcers and bleeding.",
    "how far is charles de gaulle airport from paris": "The airport lies in Roissy, 25 km "
    "northeast of the city, and is served by the RER line B, which takes about half an hour to the "
    "centre.",
}
"""Queries as web searchers type them, and the passage that answers each."""
_BEFORE, _BETWEEN, _AFTER = "Passage: ", "\nSearch query:", "\n\n"
_PASSAGE_TOKENS = 100
_QUERY_TOKENS = 20
_TEMPERATURE, _TOP_P = 0.7, 0.9


@dataclass(frozen=True, eq=False)
class QuestionWriter:
    """A causal language model at rest, and the examples it is shown."""

    model: PreTrainedModel
    tokenizer: TextTokenizer
    shown: Mapping[str, str]

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str | None = None,
        shown: Mapping[str, str] = SHOWN,
    ) -> "QuestionWriter":
        """Read a checkpoint folder, a `.gguf` file, or `owner/name` of the hub.

        Raises `EncoderError` for what is no causal language model, or has no room for the examples,
        a passage and a query.
        """
        path = Path(source).expanduser()
        folder, gguf = find_source(path if path.exists() else download(str(source)), None)
        model: Any = load_backbone(folder, gguf, None)
        tokenizer = load_tokenizer(folder, gguf, max_length=None, lower_case=False, sink=None)
        if tokenizer.max_length is not None:
            tokenizer = tokenizer.limited(None)
        device_of = pick_device(device)
        if device_of.type != "cpu":
            model = model.to(torch.bfloat16)
        # Nothing of what the checkpoint would have of its own, such as punished repetitions.
        model.generation_config = GenerationConfig.from_dict({})
        writer = cls(model.to(device_of), tokenizer, shown)
        room = getattr(model.config, "max_position_embeddings", None)
        if room and (needed := len(writer._examples) + _PASSAGE_TOKENS + 2 * _QUERY_TOKENS) > room:
            raise EncoderError(
                f"{source} reads {room} tokens; the examples, a passage and a query take {needed}"
            )
        if not writer._reads_forward():
            raise EncoderError(
                f"{source} sees the words behind a word; wanted a model that writes, such as "
                "HuggingFaceTB/SmolLM2-135M-Instruct"
            )
        return writer

    @torch.inference_mode()
    def _reads_forward(self) -> bool:
        """Whether what follows changes nothing of what is said of a token before it."""
        shared = self._examples[:8]
        both = torch.tensor([[*shared, end] for end in (shared[-1], shared[-1] ^ 1)])
        first, second = self.model(both.to(self.model.device)).logits[:, : len(shared)].float()
        return bool(torch.allclose(first, second, rtol=1e-3, atol=1e-3))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over weights, vocabulary, examples and settings."""
        fingerprint = Fingerprint()
        for name, weights in self.model.state_dict().items():
            flat = weights.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            fingerprint.add(name, flat.numpy().tobytes())
        fingerprint.add("vocabulary", self.tokenizer.vocabulary())
        settings = (dict(self.shown), _PASSAGE_TOKENS, _QUERY_TOKENS, _TEMPERATURE, _TOP_P)
        fingerprint.add("settings", repr(settings).encode())
        return fingerprint.hex()

    @torch.inference_mode()
    def write(self, passages: Sequence[str], *, seed: int) -> list[str]:
        """A query for each passage, "" for one that does not end within 20 tokens, or was shown.

        One batch, so passages should be of like length. The same passages in the same order and
        the same seed give the same queries, on the same machine.
        """
        shared, device = self._examples, self.model.device
        passed = [self._numbers(passage) for passage in passages]
        longest = max(map(len, passed))
        fill = self._ends[0]
        rows = [[*shared, *[fill] * (longest - len(row)), *row] for row in passed]
        seen = [
            [*[1] * len(shared), *[0] * (longest - len(row)), *[1] * len(row)] for row in passed
        ]
        cache = DynamicCache(config=self.model.config)
        self.model(
            torch.tensor([shared], device=device), past_key_values=cache, logits_to_keep=1
        )  # the examples are read once for all passages
        cache.batch_repeat_interleave(len(passed))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed % 2**63)
            generate: Any = self.model.generate
            given = generate(
                torch.tensor(rows, device=device),
                attention_mask=torch.tensor(seen, device=device),
                past_key_values=cache,
                max_new_tokens=_QUERY_TOKENS,
                do_sample=True,
                temperature=_TEMPERATURE,
                top_p=_TOP_P,
                top_k=0,
                eos_token_id=self._ends,
                pad_token_id=fill,
                suppress_tokens=self._unused,
            )
        ends = frozenset(self._ends)
        return [self._text(row, ends) for row in given[:, len(rows[0]) :].tolist()]

    def _numbers(self, passage: str) -> list[int]:
        # Ten characters a token are plenty, and a book takes long to be cut into tokens.
        one_line = (
            _BEFORE + " ".join(passage[: 50 * _PASSAGE_TOKENS].split())[: 10 * _PASSAGE_TOKENS]
        )
        (start,), (end,) = (
            self.tokenizer.ids([text], special=False) for text in (one_line, _BETWEEN)
        )
        return [*start[:_PASSAGE_TOKENS], *end]

    def _text(self, numbers: Sequence[int], ends: frozenset[int]) -> str:
        stop = next((at for at, number in enumerate(numbers) if number in ends), None)
        if stop is None:
            return ""  # cut in the middle of what it had to say
        text = " ".join(self.tokenizer.tokenizer.decode(list(numbers[:stop])).split())
        return "" if normalised(text) in map(normalised, self.shown) else text

    @cached_property
    def _examples(self) -> list[int]:
        text = "".join(
            f"{_BEFORE}{passage}{_BETWEEN} {query}{_AFTER}" for query, passage in self.shown.items()
        )
        return self.tokenizer.ids([text], special=True)[0]

    @cached_property
    def _ends(self) -> list[int]:
        """Tokens that end a query: the end of a text, and whatever holds the end of a line."""
        special = self.tokenizer.special_ids()
        decode = self.tokenizer.tokenizer.decode
        lines = (number for number in range(self.tokenizer.n_tokens) if "\n" in decode([number]))
        if not (found := sorted({*special, *lines})):
            raise EncoderError("the tokenizer has neither special tokens nor one for a line's end")
        return found

    @cached_property
    def _unused(self) -> list[int] | None:
        """Numbers of the padded end of a vocabulary, which are no tokens."""
        return list(range(self.tokenizer.n_tokens, self.model.config.vocab_size)) or None
