"""Coverage-guided fuzzing of every parser that meets bytes from outside; see fuzz/README.md."""
