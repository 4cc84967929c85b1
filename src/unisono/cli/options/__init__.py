"""The options of each command. These modules import only fast modules, so that help is shown at once."""
