"""``embedtrain report``: the page of one run written again, or one page over many runs."""
