"""Augmented SBERT: gold pairs train a teacher, it labels new pairs, gold and silver train the student."""
