"""What thinks: one transformer for Llama, Qwen and DeepSeek. Knows nothing of text or requests."""
