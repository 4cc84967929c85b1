"""The default limits for the size of CoSD's tree."""

DEPTH = 3
LEAF = 2  # the smallest number of positions in a leaf; ten texts may give only four positions with the label 1
