"""The command line: parses, calls ``lifecycle``, renders. It decides nothing."""
