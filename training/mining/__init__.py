"""Hard negatives: documents that a ranker likes and that are no answer.

`windows` draws ranks, `rankers` are BM25, sparse encoders behind the exact engine and dense vectors
behind faiss, `cleaning` knows copies, `parts` keeps what was found when a call ends early,
`negatives` puts them together for texts, `collections` for a collection on disk, `unjudged` for
questions to a corpus that nobody judged for them.
"""
