"""How a policy, reward model, embedder or generator is loaded and run."""
