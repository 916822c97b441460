"""What the tests measured; printed after them."""
FIGURES = []


def note(text):
    FIGURES.append(text)
