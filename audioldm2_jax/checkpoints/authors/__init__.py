"""The authors' own files (.pth, .ckpt, .pt): opened (`source`) and made into models (`assemble`).

Such a file holds tensors alone; their names and shapes give the configuration. References: the
repositories of AudioLDM 2, AudioLDM, AudioMAE, LAION CLAP and HiFi-GAN.
"""
