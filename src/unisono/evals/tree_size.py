"""The default size limits of CoSD's tree."""

DEPTH = 3
LEAF = 2  # positions per leaf; ten texts may give only four with the label 1
