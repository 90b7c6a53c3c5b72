"""How does it become small? Linear layers in int8 or int4, and what that did to the model (docs/quantize.md)."""
