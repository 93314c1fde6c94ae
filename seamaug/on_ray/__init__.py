"""The engine `ray`: models on the workers of a Ray cluster."""
