"""Texts as numbers: word vectors, ROUGE, small networks over mean vectors."""
