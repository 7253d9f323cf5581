"""Domain adaptation: an encoder learns a domain from its raw text, then, where there is gold, the task from labels."""
