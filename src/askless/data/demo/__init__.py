"""Generated corpora, word vectors and tiny LLMs, so that everything runs with no download."""
