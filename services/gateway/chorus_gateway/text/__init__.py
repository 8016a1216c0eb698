"""Between text and token ids: tokenizers, chat templates, incremental decoding and stop strings."""
