"""What is trained: one decoder-only Transformer, its parts, its first weights, its Hugging Face form."""
