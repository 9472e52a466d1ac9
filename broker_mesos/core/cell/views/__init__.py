"""A cell as operators and other cells see it. Reading changes nothing."""
