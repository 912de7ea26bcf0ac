"""The authors' own files (.pth, .ckpt, .pt): tables, configurations read off shapes, assembly.

Such a file holds tensors alone; what a model is follows from their names and shapes. References:
the repositories of AudioLDM 2, AudioLDM, AudioMAE, LAION CLAP and HiFi-GAN.
"""
