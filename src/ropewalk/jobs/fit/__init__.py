"""Finding the stretch that suits a model, its weights untouched."""
