"""The sections [stage.*] of a recipe, as `sections` has the others."""

from dataclasses import dataclass, field
from typing import Literal

from lsr.typed_toml import number


@dataclass(frozen=True, slots=True)
class MlmStage:
    """Masked-language modelling over the documents, which a new head needs before it can rank."""

    steps: int = number(low=1)
    batch: int = number(32, low=1)
    learning_rate: float = number(5e-4, low=0)
    warmup_steps: int = number(0, low=0)
    max_length: int = number(128, low=8)
    masked: float = number(0.15, low=0, high=1)
    """Share of tokens that are hidden and must be guessed: learns related terms."""
    kept: float = number(0.15, low=0, high=1)
    """Share of tokens left visible that must be named: learns the literal terms."""
    shifted: bool = False
    """For decoders whose attention is bidirectional: a token is named at the position before it,
    where they have always named the next (MNTP, arXiv 2404.05961)."""
    mask_token: str = ""
    """What stands for a hidden token; left out, [MASK] or <mask>, or padding where a tokenizer
    has neither. "_" in the paper. A token of the vocabulary; with [model.scratch] a special one."""
    layers: int = number(-1, low=-1)
    """How many of the last layers learn, beside the head; -1 = everything, embeddings included."""


@dataclass(frozen=True, slots=True)
class ClmStage:
    """Next-token prediction over the documents, also behind the ReLU (arXiv 2504.10816): what makes
    a decoder's logits fit for one. The paper takes 10,000 steps of 32 texts of 2,048 tokens."""

    steps: int = number(low=1)
    batch: int = number(32, low=1)
    learning_rate: float = number(1e-4, low=0)
    warmup_steps: int = number(0, low=0)
    max_length: int = number(256, low=8)
    relu_weight: float = number(1.0, low=0)
    """Weight of the loss behind log(1 + relu(x)) against that of the plain logits."""
    layers: int = number(-1, low=-1)
    """How many of the last layers learn, beside the head; -1 = everything."""


@dataclass(frozen=True, slots=True)
class CalibrateStage:
    """One number subtracted from the head's bias, so that ranking starts from sparse vectors."""

    active_terms: int = number(256, low=1)
    documents: int = number(512, low=1)


@dataclass(frozen=True, slots=True)
class Losses:
    """Weights of the ranking losses, which are added up; 0 leaves a loss out."""

    info_nce: float = number(0.0, low=0)
    """Cross-entropy of the positive against every other document of the batch."""
    margin_mse: float = number(0.0, low=0)
    """Squared error of margins against a teacher's; needs [[teachers]]."""
    kl: float = number(0.0, low=0)
    """Divergence from a teacher's distribution over candidates; needs [[teachers]]."""
    pairwise: float = number(0.0, low=0)
    """RankNet, over the teacher's preferences if there is one, else over the judged ones."""
    listwise: float = number(0.0, low=0)
    """ListNet, against the teacher's distribution or the judged documents."""
    approx_ndcg: float = number(0.0, low=0)
    """Smooth nDCG, with the teacher's scores or the judgements as gains."""

    @property
    def of_teacher(self) -> tuple[str, ...]:
        """Those in use that mean nothing without a teacher."""
        return tuple(name for name in ("margin_mse", "kl") if getattr(self, name))


@dataclass(frozen=True, slots=True)
class Sparsity:
    """What presses terms out, and how hard; weights grow quadratically over `ramp` steps."""

    penalty: Literal["flops", "l1", "df-flops", "idf-flops"] = "flops"
    """For documents: FLOPS; sum of weights; FLOPS weighted by document frequency or by idf."""
    query_penalty: Literal["flops", "l1"] = "flops"
    documents: float = number(0.0, low=0)
    queries: float = number(0.0, low=0)
    ramp: int = number(0, low=0)
    """Steps until the weights reach the values above."""
    l0_threshold: int = number(0, low=0)
    """Documents with at most so many active terms are not penalised; 0 = all are."""
    anti_zero: float = number(0.0, low=0)
    """Weight of a term that keeps vectors from becoming empty, on both sides."""
    df_alpha: float = number(0.1, low=1e-6, high=0.999999)
    """df-flops: the share of documents at which a term's penalty has half its weight."""
    df_beta: float = number(10.0, low=0.1)
    """df-flops: how sharply the weight rises there."""
    df_refresh: int = number(100, low=1)
    """df-flops: batches between two looks at the document frequencies."""
    df_decay: float = number(0.99, low=0, high=0.999999)
    """df-flops: how much of the running document frequencies a batch leaves."""


@dataclass(frozen=True, slots=True)
class Controller:
    """How many terms are to be active: the weights of [stage.ranking.sparsity] follow from it.

    They start from the values given there, at the end of its ramp.
    """

    documents: int | None = number(None, low=1)
    """Active terms per document, on average; left out, that weight is fixed."""
    queries: int | None = number(None, low=1)
    rate: float = number(0.02, low=1e-6, high=1)
    """How much the logarithm of the weight moves a step where lengths are off by their target."""
    decay: float = number(0.9, low=0, high=0.999999)
    """How much of the running mean length a batch leaves."""
    lookahead: float = number(40.0, low=0)
    """Batches ahead for which the length is expected, by its last change: brakes in time."""
    lowest: float = number(1e-8, low=1e-30)
    highest: float = number(1e3, low=1e-30)


@dataclass(frozen=True, slots=True)
class Window:
    """PROSPER's lexical focusing window: while training, a text longer than so many terms keeps
    the largest alone (arXiv 2510.18527; its values are the defaults). 0 leaves a side whole.
    """

    queries: int = number(256, low=0)
    documents: int = number(512, low=0)
    queries_start: int = number(0, low=0)
    """Coarse to fine: the window at the first step, which shrinks over `steps`; 0 = no shrinking.
    Queries from a table have no window."""
    documents_start: int = number(0, low=0)
    steps: int = number(0, low=0)
    """Steps until the windows reach `queries` and `documents`."""


@dataclass(frozen=True, slots=True)
class RankingStage:
    """Ranking: losses over in-batch and given negatives, plus what keeps vectors sparse."""

    steps: int = number(low=1)
    batch: int = number(32, low=1)
    """Queries a step; documents are the distinct positives and negatives of these queries."""
    accumulate: int = number(1, low=1)
    learning_rate: float = number(2e-5, low=0)
    warmup_steps: int = number(0, low=0)
    weight_decay: float = number(0.01, low=0)
    clip: float = number(1.0, low=0)
    max_length: int = number(256, low=8)
    windows: int = number(1, low=1)
    """Documents longer than `max_length` are read in so many windows of that length at most, and
    weigh a term as the window that gives it most; the encoder then reads all their windows."""
    window_overlap: int = number(32, low=0)
    """Tokens that neighbouring windows share."""
    losses: Losses = field(default_factory=lambda: Losses(info_nce=1.0))
    """Left out: info_nce alone."""
    scale: float = number(1.0, low=0)
    """Multiplies scores inside info_nce, pairwise and approx_ndcg (inverse temperature); sums of
    idf run to a hundred."""
    temperature: float = number(1.0, low=1e-3)
    """Divides the student's scores inside kl and listwise."""
    teacher_temperature: float = number(1.0, low=1e-3)
    """Divides the teacher's scores inside kl and listwise."""
    margin_match: Literal["raw", "student", "spread"] = "raw"
    """Scale of the teacher inside margin_mse: its own, the student's, or `margin_spread`."""
    margin_spread: float = number(1.0, low=1e-6)
    """Standard deviation of a query's teacher scores with margin_match = "spread"."""
    sparsity: Sparsity = field(default_factory=Sparsity)
    controller: Controller = field(default_factory=Controller)
    window: Window | None = None
    """Left out, every term counts."""
    normalize_queries: bool = False
    """Score with queries of Euclidean length 1, as PROSPER does. The ranking of a query is the same
    with and without, so the encoder stays as it is."""
    micro_batch: int = number(0, low=0)
    """Texts encoded at a time where a batch does not fit into memory: each is encoded twice, the
    gradients are those of the whole batch (GradCache). 0 = all at once."""
    table_rate: float = number(10.0, low=0)
    """A learned query table: its learning rate is so many times `learning_rate`."""
    table_frozen_steps: int = number(0, low=0)
    """A learned query table stands still for so many steps, while documents settle."""
    layers: int = number(-1, low=-1)
    words: float = number(0.0, low=0)
    """Adds so many times the BM25 score of query and document to every score that losses see: the
    network learns what matching words lacks. For an encoder that `lsr join` puts beside BM25."""
    sampled_terms: int = number(0, low=0)
    """Inference-free only: compute the tokens of the batch and this many other terms, drawn at
    random, instead of the whole vocabulary; scores stay exact, FLOPS unbiased. 0 = everything."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages in the order they run; those left out are skipped."""

    ranking: RankingStage
    mlm: MlmStage | None = None
    clm: ClmStage | None = None
    calibrate: CalibrateStage | None = None
