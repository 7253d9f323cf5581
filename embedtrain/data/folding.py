"""The normal form in which two texts count as the same: compatibility characters, case and white space folded."""

import unicodedata


def fold_text(text: str) -> str:
    """NFKC, case folded, runs of white space as one space, none at the ends.

    Full-width and half-width forms fold together, which matters for Chinese text typed on different keyboards.
    """
    if text.isascii():  # the same result by a path several times as fast
        return " ".join(text.lower().split())
    # Folding case can leave a composed character apart, hence the second NFKC (Unicode Standard, 3.13, D146).
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())
