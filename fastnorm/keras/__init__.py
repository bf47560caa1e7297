"""Keras: its Normalization as a preset, layers in both directions, and a fast exact adapt for the layer itself."""

from fastnorm.batchnorm import BatchNormalization
from fastnorm.keras.layers import adapt, from_keras, to_keras
from fastnorm.keras.preset import Normalization

__all__ = ["BatchNormalization", "Normalization", "adapt", "from_keras", "to_keras"]
