"""One file for each family of samplers; `diffusion.registry` names them."""
