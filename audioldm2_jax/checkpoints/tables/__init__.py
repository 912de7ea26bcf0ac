"""One conversion table for each model part, between the hub layout's names and ours."""
