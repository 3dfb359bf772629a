"""The sections of a recipe: frozen dataclasses whose fields are the keys, with default and meaning.

Those of the stages are in `stage_sections`. Nothing here imports torch. What no single field can
see is checked in `recipe`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lsr.typed_toml import number


@dataclass(frozen=True, slots=True)
class Scratch:
    """Sizes of a BERT, or with [model.decoder] a Llama, with random weights and a WordPiece
    vocabulary learned from the documents."""

    layers: int = number(2, low=1)
    hidden: int = number(64, low=8)
    heads: int = number(2, low=1)
    vocabulary: int = number(2000, low=300)


@dataclass(frozen=True, slots=True)
class Decoder:
    """The backbone is a causal language model: how it is read. See `lsr.encoders.decoder`."""

    attention: Literal["causal", "bidirectional"] = "causal"
    """What a position sees: what comes before it, or the whole text."""
    echo: bool = False
    """Feed the text twice and read the second copy (arXiv 2408.11119)."""
    exclude: Literal["special", "bos", "none"] = "special"
    """Positions never pooled: special tokens, those before the text (arXiv 2601.01684), or none."""
    sink: str = ""
    """A special token to put before every text where the tokenizer puts none (Qwen, SmolLM): there,
    the first word would become the sink of attention and its features mean nothing."""
    scale: Literal["none", "width"] = "none"
    """Multiply logits by width^(-1/4), as Lion-SP (arXiv 2502.15526)."""
    shift: float = number(0.0, low=-1e4)
    """Subtracted from every logit at the start; [stage.calibrate] finds one by itself."""
    centre: bool = False
    """Take the mean row off the decoder, so that every position's logits average 0: language models
    leave that mean free, and a maximum over positions compares them. Unties the head."""


@dataclass(frozen=True, slots=True)
class Lora:
    """Learn low-rank updates and the head's bias, nothing else; needs peft."""

    rank: int = number(16, low=1)
    alpha: int = number(32, low=1)
    """An update counts alpha / rank."""
    dropout: float = number(0.05, low=0, high=0.9)
    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Names of the linear layers that get one; for BERT "query", "key", "value", "dense"."""
    quantize: Literal["none", "4bit"] = "none"
    """Keep the frozen weights in 4 bits (QLoRA); needs bitsandbytes. Decoders only."""


@dataclass(frozen=True, slots=True)
class UHD:
    """UHD-BERT (arXiv 2104.07198) instead of a language-model head: for each layer a bucket of
    latent terms, of which every token switches on a few.
    """

    layers: tuple[int, ...]
    """Layers that are read, ascending: 0 is the embeddings, 1 the first block; those above go."""
    dims: tuple[int, ...]
    """Latent terms of each of these layers, for example 40,000 each."""
    winners: tuple[int, ...]
    """Terms that one token may switch on, of each layer: how long vectors are."""
    binary: bool = True
    """Weights are 1 and scores count shared terms, while training too; else log(1 + relu(x))."""


@dataclass(frozen=True, slots=True)
class Model:
    """Which network to start from and which kind of encoder to make of it."""

    kind: Literal["inference-free", "siamese", "separate"]
    """What queries go through: a table, the documents' network, or a network of their own."""
    backbone: str = ""
    """A folder (absolute, or relative to the recipe) or a hub name; empty with [model.scratch]. An
    encoder's folder goes on from its document network.
    With [model.decoder] also a .gguf file."""
    query_backbone: str = ""
    """kind = "separate": the network that queries start from; left out, the same as `backbone`."""
    query_table: Literal["idf", "binary", "learned", "kept"] = "idf"
    """kind = "inference-free": idf of the training texts, 1 for every token, a table that starts as
    idf and learns (Li-LSR, arXiv 2505.01452), or the table of the encoder that `backbone` names. A
    learned table starts from that encoder's, too."""
    activation: Literal["log1p", "double-log1p"] = "log1p"
    """From logits to weights: log(1 + relu(x)), or that twice (arXiv 2504.14839)."""
    pooling: Literal["max", "sum", "mean", "last"] = "max"
    """Over the positions of a text: the largest, the sum of all (SPLADE v1); for decoders also
    their mean, or the last alone."""
    pool_special: bool = True
    """Whether positions of special tokens ([CLS], [SEP]) are pooled, as stock SpladePooling does;
    false leaves them out, and such an encoder loads in this package alone. Decoders have `exclude`,
    [model.uhd] never pools them."""
    query_prompt: str = ""
    """Put before every query, while training and after; likewise for documents."""
    document_prompt: str = ""
    max_active_terms: int | None = number(None, low=1)
    """Keep this many terms of each text, the largest, when the trained encoder is used."""
    literal_residual: bool = False
    """PROSPER's second head, which keeps the words of the text (arXiv 2510.18527); such an encoder
    loads in this package alone."""
    uhd: UHD | None = None
    """Latent terms instead of words; kind = "siamese". Loads in this package alone."""
    scratch: Scratch | None = None
    decoder: Decoder | None = None
    lora: Lora | None = None
    new_head: bool = False
    """Make a masked-LM head tied to the word embeddings if the checkpoint has none."""
    licence: str = ""
    """Of the backbone, for the card; left out, what the README in its folder says."""
    seen: tuple[str, ...] = ()
    """What backbone and teachers had been trained on before, for the card: judge results on it with
    care."""
    max_length: int = number(256, low=8)
    """Tokens read from a document when the trained encoder is used; stages may train on fewer."""
    query_length: int = number(64, low=4)
    dropout: float | None = number(None, low=0, high=0.9)
    """Dropout while training; left out, the checkpoint's own. On a CPU its random numbers take a
    third of the time, and a run of less than one pass over the data has little to overfit."""


@dataclass(frozen=True, slots=True)
class Mining:
    """Negatives found by rankers, where a collection or a record of pairs gives none; see
    `training.mining`."""

    miners: tuple[str, ...] = ("bm25",)
    """"bm25" ("bm25:german" and so on for words of another language), "dense:FOLDER", or the folder
    of a sparse encoder (absolute, or relative to the recipe); each draws from every window."""
    windows: tuple[str, ...] = ("10-50",)
    """Ranks "FIRST-LAST" from 0, the last left out, or "FIRST-LAST:TAKE" for so many of them at
    random. The very top often holds unjudged answers."""
    margin: float | None = number(None, low=0)
    """Leave out what scores above the best positive minus this."""
    share: float | None = number(None, low=0)
    """Leave out what scores above this share of the best positive, such as 0.95."""
    teacher: str = ""
    """Whose scores these are: bm25, dense:FOLDER, cross-encoder:FOLDER or a sparse encoder's
    folder; left out, each miner's own."""
    near_copy: float = number(0.9, low=0, high=1)
    """Leave out documents that share so much of their words with a positive (Jaccard)."""
    rounds: int = number(1, low=1)
    """Train so often: each round starts from the encoder of the last and mines with it, too."""


@dataclass(frozen=True, slots=True)
class Data:
    """Which judged collections to learn from."""

    train: tuple[str, ...]
    """Names of collections, folders, or .jsonl files of {"query", "pos", "neg"} records, of which
    "neg" may be missing."""
    split: str = "train"
    negatives: int = number(0, low=0)
    """Given negatives drawn per query, where a collection has them; others are in-batch."""
    draw: Literal["uniform", "spread"] = "uniform"
    """How: all alike, or one from each of `negatives` equal parts of the query's list, which its
    teachers have ordered: hard, middling and easy ones in every step."""
    mined_depth: int = number(0, low=0)
    """Short for [data.mining] with BM25 and the one window mined_from-mined_depth; 0 = none."""
    mined_from: int = number(10, low=0)
    """First rank taken with `mined_depth`."""
    mining: Mining | None = None
    max_queries: int = number(0, low=0)
    """At most this many queries of each collection, drawn by `run.seed`; 0 takes all."""
    corpora: tuple[str, ...] = ()
    """Names, folders or files of more documents for masked-LM and the idf table; never ranked."""
    corpus_documents: int = number(0, low=0)
    """At most this many documents of each corpus, drawn by `run.seed`; 0 takes all."""
    licences: Mapping[str, str] = field(default_factory=dict)
    """By name as in `train`, for the card; left out, what the README in a collection's folder
    says."""
    repeat: Mapping[str, int] = field(default_factory=dict)
    """How often a collection's queries come per pass, by name as in `train`; default 1."""


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """A model whose scores the encoder learns from: one [[teachers]] entry; any number, any mix."""

    kind: Literal["cross-encoder", "pairwise", "dense", "sparse", "bm25"]
    model: str = ""
    """A folder (absolute, or relative to the recipe) or a hub name; BM25 has none, it is fitted to
    the documents of the recipe."""
    name: str = ""
    """What logs and `distillation.affine` call it; left out, the last part of `model`, or bm25."""
    stemmer: str | None = None
    """Of BM25: "german" and so on for words of another language than English."""
    weight: float = number(1.0, low=0)
    """Its share in the mean. A teacher of weight 0 only serves as `distillation.affine`."""
    normalize: Literal["min-max", "z", "softmax", "none"] | None = None
    """Per query; left out, `distillation.normalize`. Softmax is for all teachers or for none."""
    temperature: float = number(1.0, low=1e-6)
    """Divides scores before a softmax: cosines need about 0.05, logits 1."""
    query_prompt: str | None = None
    """Put before each query; left out, what the model's folder says."""
    document_prompt: str | None = None
    max_length: int | None = number(None, low=8)
    """Tokens read, of a text or of a pair; left out, what the model's folder says."""
    pooling: Literal["mean", "cls"] | None = None
    """Of a dense model whose folder does not say it; mean if left out."""
    sampler: Literal["exhaustive", "skip", "random"] | None = None
    """Of a pairwise teacher: which of a query's candidates are compared; skip if left out."""
    aggregation: Literal["additive", "bradley-terry", "greedy", "kwiksort", "pagerank"] | None = (
        None
    )
    """Of a pairwise teacher: how comparisons become scores; bradley-terry, log strengths, if left
    out."""
    budget: float | None = number(None, low=0, high=1)
    """Of a pairwise teacher: the share of the k² - k comparisons made; a third if left out."""


@dataclass(frozen=True, slots=True)
class Distillation:
    """How the teachers' scores become one target; see `training.ensemble`."""

    normalize: Literal["min-max", "z", "softmax", "none"] = "min-max"
    scale: float | None = number(None, low=0)
    """Multiplies the ensemble; left out, 30 if every teacher is min-max'ed (arXiv 2411.04403), else
    1."""
    candidates: int = number(0, low=0)
    """Documents kept per query: its positives, and negatives up to this many in all; 0 = all. The
    others are neither scored nor ever drawn for it, with `in_batch` too."""
    in_batch: bool = False
    """Score every pair of the batch with the teachers that embed; a cross-encoder joins in where
    its score is cached. False: a query's own candidates only, by all teachers."""
    affine: str = ""
    """Name of the teacher whose mean and deviation the ensemble is given (SPLADE-v3), instead of
    a scale: margins for MarginMSE."""
    cache: str = ""
    """The score cache, as `lsr score` writes it; left out, one in the run folder. Of mining in
    rounds it is the first round's: later ones have other candidates, and score them by themselves.
    """
    vectors: str = ""
    """A folder where the vectors of teachers stay: a later run embeds only texts that none before
    it did. Left out, they are in the run folder and go with it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the teachers' networks multiply in."""
    device: str = ""
    """A torch device for the teachers; left out, the first GPU, or the CPU."""


@dataclass(frozen=True, slots=True)
class Develop:
    """Early stopping: the ranking stage ends with the weights that ranked these queries best."""

    dataset: str = ""
    """A collection to rank, or a group of them, whose mean counts ("nanobeir", split "test"); left
    out, a share of the training queries is held out."""
    split: str = "dev"
    """With "test" the results on that split are no test results any more, as the card will say."""
    held_out: float = number(0.0, low=0, high=0.9)
    """Share of the training queries, where no dataset is named."""
    queries: int = number(500, low=1)
    """At most so many queries, drawn by `run.seed`."""
    documents: int = number(5000, low=1)
    """The judged documents, and others up to this number; more make a look slower and harder."""
    every: int = number(100, low=1)
    """Steps between two looks; the last step gets one as well."""
    patience: int = number(0, low=0)
    """Stop after so many looks without a better one; 0 = run to the end, then take the best."""
    measure: str = "nDCG@10"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run: nothing here changes what is learned, but for seed and precision."""

    seed: int = number(0, low=0)
    bf16: bool = False
    log_every: int = number(20, low=1)
    checkpoint_every: int = number(200, low=1)
    keep_checkpoints: int = number(1, low=1)
    checkpoint: Literal["full", "weights"] = "full"
    """"full" keeps the optimiser's state, and an interrupted run ends as if it had not been.
    "weights" keeps float16 weights in files of at most 15 MB and a little JSON."""
    rewarm_steps: int = number(50, low=1)
    """Steps in which the learning rate climbs back after a resume from weights alone."""
    watch_pairs: int = number(32, low=0)
    """At each log of the ranking stage, look at the vectors of this many pairs for dead terms,
    frequent terms and signs of collapse; 0 = never. Looking does not change the run."""
    on_collapse: Literal["warn", "stop"] = "warn"
    """What to do about signs of collapse: say so, or end the run when they persist."""
    tensorboard: bool = False
    """Write the log to <output>.tensorboard as well."""
    report_to: tuple[str, ...] = ()
    """Trackers that transformers.Trainer should report to as well, such as "wandb"."""
    fsdp: bool = False
    """Share parameters, gradients and optimiser out over the processes (FSDP2)."""
    fsdp_config: str = ""
    """A JSON file of settings for it, as transformers.TrainingArguments takes them."""
    deepspeed: str = ""
    """A JSON file of DeepSpeed's with its "zero_optimization": stage 1 or 2."""
