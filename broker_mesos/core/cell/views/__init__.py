"""Views of a cell for operators and other cells. They change nothing."""
