"""Networks: tokenizer, transformer blocks, heads, losses and point operations."""
