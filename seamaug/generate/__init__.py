"""Making new prompts from seeds."""
