"""One harness a module; ``fuzz.harness`` says what a harness is."""
