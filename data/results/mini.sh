#!/usr/bin/env bash
# Train the encoder `mini` of this folder: 1,100 steps, some 40 minutes of one idle CPU core (87 on a busy machine).
#
#   LSR_MODELS=DIR LSR_DATA=DIR data/results/mini.sh OUTPUT
#
# minilm-mlm is all-MiniLM-L6-v2 with a masked-LM head, made as tests/bench/training.toml says.
set -euo pipefail
exec lsr train li-lsr "$1" \
    --set "model.backbone=\"$LSR_MODELS/minilm-mlm\"" --set model.dropout=0.0 \
    --set model.max_length=256 --set model.query_length=48 \
    --set 'model.seen=["all-MiniLM-L6-v2: MS MARCO, Natural Questions, SQuAD and more, in pairs"]' \
    --set 'data.train=["scifact","nfcorpus-stopped","insuranceqa","medquad","boolq","wikiqa","acl-title2abstract","pubmed-title2abstract","debian-descriptions"]' \
    --set data.max_queries=2200 --set data.negatives=1 --set data.mined_from=3 --set data.mined_depth=40 \
    --set 'data.repeat={scifact=2}' \
    --set 'teachers=[{kind="bm25"}]' --set 'distillation.affine=""' --set distillation.in_batch=true \
    --set distillation.candidates=2 --set 'distillation.precision="bfloat16"' \
    --set 'stage.calibrate={active_terms=300,documents=128}' \
    --set stage.ranking.steps=1100 --set stage.ranking.batch=20 --set stage.ranking.accumulate=1 \
    --set stage.ranking.learning_rate=8e-5 --set stage.ranking.warmup_steps=60 \
    --set stage.ranking.max_length=112 --set stage.ranking.layers=4 \
    --set stage.ranking.temperature=5.0 --set stage.ranking.teacher_temperature=5.0 \
    --set stage.ranking.scale=0.2 --set stage.ranking.table_rate=20.0 \
    --set stage.ranking.table_frozen_steps=150 --set stage.ranking.sampled_terms=2048 \
    --set 'stage.ranking.losses={info_nce=1.0,kl=1.0}' --set stage.ranking.sparsity.ramp=150 \
    --set stage.ranking.sparsity.documents=1e-4 \
    --set 'stage.ranking.controller={documents=180,rate=0.1}' \
    --set run.bf16=true --set run.log_every=20 --set run.checkpoint_every=100 --set run.seed=1
