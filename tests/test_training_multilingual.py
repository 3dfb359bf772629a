"""A multilingual backbone (XLM-RoBERTa, a Unigram vocabulary of many scripts) trains like BERT."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from lsr.encoders import TextTokenizer, load_encoder  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.stage_sections import MlmStage  # noqa: E402
from training.steps import MlmSteps  # noqa: E402

PAIRS = [
    ("wie schwimmen Fische", "Fische atmen mit Kiemen und schwimmen mit ihren Flossen"),
    ("où vivent les ours", "les ours vivent dans les forêts et dorment tout l'hiver"),
    ("猫 吃 什么", "猫 吃 鱼 和 老鼠 也 喝 水"),
    ("أين تعيش الجمال", "تعيش الجمال في الصحراء و تشرب الماء"),
    ("हाथी क्या खाता है", "हाथी घास और पत्ते खाता है"),
    ("что едят медведи", "медведи едят ягоды и рыбу в лесу"),
]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its special tokens are <s>, <pad>, </s>, <unk> and, at the end, <mask>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([text for pair in PAIRS for text in pair], trainer)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", None, [("<s>", 0), ("</s>", 2)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=32,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
    config = transformers.XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
        pad_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = transformers.XLMRobertaForMaskedLM(config)
    folder = tmp_path_factory.mktemp("xlmr") / "tiny"
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def test_hidden_tokens_stand_behind_the_mask_of_the_vocabulary(backbone: Path) -> None:
    """RoBERTa's is called <mask>; padding took its place once, which no text ever shows."""
    tokenizer = TextTokenizer.load(backbone)
    stage = MlmStage(steps=1, batch=6, max_length=32, masked=1.0, kept=0.0)
    item = MlmSteps([text for _, text in PAIRS], tokenizer, stage, seed=0, n_steps=1)[0]
    given = item["input_ids"].ravel()[item["positions"]]
    mask = tokenizer.tokenizer.token_to_id("<mask>")
    assert (given == mask).float().mean() > 0.7  # one in ten is swapped for another word
    assert not (given == tokenizer.pad_id).any()


def test_pairs_of_six_languages_are_learned_and_found(backbone: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"query": query, "pos": text}) for query, text in PAIRS]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "six"\n[model]\nkind = "inference-free"\nbackbone = "{backbone}"\n'
        'max_length = 32\n[data]\ntrain = ["pairs.jsonl"]\n'
        "[stage.mlm]\nsteps = 40\nbatch = 6\nmax_length = 32\nlearning_rate = 1e-2\n"
        "[stage.calibrate]\nactive_terms = 40\n"
        "[stage.ranking]\nsteps = 10\nbatch = 6\nmax_length = 32\nlearning_rate = 1e-3\n"
        "[run]\nwatch_pairs = 0\n"
    )
    report = train(load_recipe(recipe), tmp_path / "encoder", progress=False)
    encoder = load_encoder(report.output)
    queries = encoder.encode_queries([query for query, _ in PAIRS])
    scores = (queries @ encoder.encode_documents([text for _, text in PAIRS]).T).toarray()
    assert scores.argmax(axis=1).tolist() == list(range(len(PAIRS)))
    assert (queries.toarray() > 0).sum(axis=1).min() >= 2
