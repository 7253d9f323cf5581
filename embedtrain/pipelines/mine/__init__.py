"""Mining: new pairs to label, hard negatives of positive pairs, and tuples out of scored pairs."""
