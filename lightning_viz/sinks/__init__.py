"""Pictures, scalars and embeddings to the files of a logger; never a model, never Lightning's own classes."""
