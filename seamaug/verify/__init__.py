"""Whether a candidate's text and label are valid."""
