"""The schedule `auto`. It measures times and acceptance while rows run, and follows the plan that should be fastest."""
