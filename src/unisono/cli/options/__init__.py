"""The options of each command. These modules import nothing slow, so that help is shown at once."""
