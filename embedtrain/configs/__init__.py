"""Configuration files: written with every option explained, and checked as a whole before anything runs."""
