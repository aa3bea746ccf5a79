"""One question per file; :mod:`.registry` lists the rules in order of precedence."""
