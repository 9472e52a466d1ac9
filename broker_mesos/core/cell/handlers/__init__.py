"""The handlers of inputs, which change the state of a cell, with one file for each subject."""
