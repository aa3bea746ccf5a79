"""One question a file; :mod:`.registry` lists the rules in order of precedence."""
