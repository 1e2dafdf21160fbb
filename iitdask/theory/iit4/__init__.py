"""IIT 4.0: system irreducibility, distinctions and relations as recipes."""
