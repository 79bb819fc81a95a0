"""The generators of cases, one for each family of public functions: importing them fills case.FAMILIES."""

from families import activations, arithmetic, images, losses, norms, products, shapes, training
