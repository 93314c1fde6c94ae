"""Training and validation rows that share no parent."""

from seamaug.records import text_key

TRAIN, VALIDATION = "train", "validation"


def side_of(parent: str, validation: float) -> str:
    """The side on which all examples of one parent stand, and the parent's own row with them.

    It follows from the parent's id alone, so it is the same in every export of every run: what one
    of them validates on, none with the same share trains on.
    """
    drawn = int(text_key([VALIDATION, parent]), 16) / 2**64
    return VALIDATION if drawn < validation else TRAIN
