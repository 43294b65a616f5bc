"""A scale per request in vLLM: short prompts at scale 1, long ones stretched, in one server. See docs/vllm-plugin.md."""
