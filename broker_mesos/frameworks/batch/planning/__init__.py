"""Pure functions that turn the batch framework's decisions into transactions on the store."""
