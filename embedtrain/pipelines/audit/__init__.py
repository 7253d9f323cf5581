"""``embedtrain audit``: what is in a file of texts or pairs."""
