"""The options of each command. They import nothing that takes long, so that help is shown at once."""
