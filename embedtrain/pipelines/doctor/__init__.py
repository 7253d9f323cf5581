"""``embedtrain doctor``: what this machine and installation offer."""
