"""From the input images to what the network is given: each step its own module, strung together by recipe.py."""
